"""Receives uploaded files and sends their translations, for the routes of all APIs."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.body import validate
from allyouneed.serving.document_jobs import DocumentJob
from allyouneed.serving.state import ApplicationState

_DETECTION_CHARACTERS = 5000  # the beginning of a file is enough to detect its language
_MAX_FORM_FIELDS = 50
# Prevents browsers from displaying an uploaded file as a page of this server.
DOWNLOAD_TYPE, DOWNLOAD_HEADERS = "application/octet-stream", {"X-Content-Type-Options": "nosniff"}


class UploadFields(BaseModel):
    """Text fields of an upload form, under LibreTranslate's names."""

    source: str = "auto"
    target: str
    api_key: str | None = None


async def receive_upload(
    state: ApplicationState, request: Request, secret: str | None, fields: tuple[str, str] = ("source", "target")
) -> DocumentJob:
    """Read an upload form and start to translate its file.

    Args:
        state: The server's state.
        request: The request.
        secret: API key from the headers; if None, the form's `api_key` is used.
        fields: Names of the form's fields for the source and target language.

    Raises:
        ApiError: If the form is invalid, the file cannot be translated, or the request is not admitted.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(400, "missing file parameter: send a form of type multipart/form-data")
    async with request.form(max_files=1, max_fields=_MAX_FORM_FIELDS) as form:
        values = {
            "source": form.get(fields[0]) or "auto",
            "target": form.get(fields[1]),
            "api_key": form.get("api_key"),
        }
        upload = validate({name: value for name, value in values.items() if value is not None}, UploadFields)
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise ApiError(400, "missing file parameter")
        secret = secret or upload.api_key
        if state.access.keys_required:  # before the file is read
            state.access.authenticate(secret)
        data, filename = await file.read(), str(form.get("filename") or file.filename or "")
    state.documents.check(filename, data)
    text = data.decode("utf-8", "replace")
    route, _ = state.route(upload.source, upload.target, text[:_DETECTION_CHARACTERS])
    if not route:
        raise ApiError(400, "the file is in the target language already")
    state.admit(request, secret, [text])
    return state.documents.submit(filename, data, route)


def download_response(state: ApplicationState, job: DocumentJob) -> FileResponse:
    """Send a translated file.

    Raises:
        ApiError: 404 if the translation is not done.
    """
    if job.status != "done":
        raise ApiError(404, "the file is not translated yet")
    path = state.documents.path(job)
    return FileResponse(path, filename=job.name, media_type=DOWNLOAD_TYPE, headers=DOWNLOAD_HEADERS)
