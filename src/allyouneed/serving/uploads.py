"""Receives uploaded documents and sends their translations, for the routes of all APIs."""

from __future__ import annotations

from itertools import islice
from pathlib import PurePath

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.body import validate
from allyouneed.serving.deepl_glossaries import chosen_glossary, finders_with, glossary_identifiers, reject_formality
from allyouneed.serving.document_jobs import DocumentJob, UploadedDocument
from allyouneed.serving.registry import Route
from allyouneed.serving.state import AUTO, ApplicationState

_DETECTION_CHARACTERS = 5000  # the beginning of a file is enough to detect its language
_DETECTION_SEGMENTS = 500
_MAX_FORM_FIELDS = 50
# Prevents browsers from displaying an uploaded file as a page of this server.
DOWNLOAD_TYPE, DOWNLOAD_HEADERS = "application/octet-stream", {"X-Content-Type-Options": "nosniff"}


class UploadFields(BaseModel):
    """Text fields of an upload form, under LibreTranslate's names, and those of DeepL."""

    source: str = "auto"
    target: str
    api_key: str | None = None
    glossary_id: str | None = None
    glossary_ids: str | None = None
    formality: str | None = None
    output_format: str | None = None


async def receive_upload(
    state: ApplicationState, request: Request, secret: str | None, fields: tuple[str, str] = ("source", "target")
) -> DocumentJob:
    """Read an upload form and start to translate its document.

    Args:
        state: The server's state.
        request: The request.
        secret: API key from the headers; if None, the form's `api_key` is used.
        fields: Names of the form's fields for the source and target language.

    Raises:
        ApiError: If the form is invalid, the file cannot be translated, or the request is not admitted.
        UserError: If the document is damaged.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(400, "missing file parameter: send a form of type multipart/form-data")
    async with request.form(max_files=1, max_fields=_MAX_FORM_FIELDS) as form:
        values = {name: form.get(name) for name in UploadFields.model_fields}
        values |= {"source": form.get(fields[0]) or "auto", "target": form.get(fields[1])}
        upload = validate({name: value for name, value in values.items() if value is not None}, UploadFields)
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise ApiError(400, "missing file parameter")
        secret = secret or upload.api_key
        if state.access.keys_required:  # before the file is read
            state.access.authenticate(secret)
        data, filename = await file.read(), str(form.get("filename") or file.filename or "")
    state.documents.check(filename, data)
    reject_formality(upload.formality)
    uploaded, route = await _read(state, upload, filename, data)
    _check_output_format(upload.output_format, uploaded)
    key = state.admit(request, secret, uploaded.texts)
    identifiers = glossary_identifiers(upload.glossary_id, upload.glossary_ids)
    source = None if upload.source == AUTO else upload.source
    glossary = await chosen_glossary(state, key, identifiers, source, upload.target)
    return state.documents.submit(uploaded, route, finders_with(glossary))


async def _read(
    state: ApplicationState, upload: UploadFields, filename: str, data: bytes
) -> tuple[UploadedDocument, Route]:
    """Read a document, and find the route for its language, which is detected from its text if it is not given."""
    sample = ""
    if upload.source.strip().lower() == AUTO:
        unread = await state.documents.read(filename, data, ("und", upload.target), None)
        sample = "\n".join(islice(unread.texts, _DETECTION_SEGMENTS))[:_DETECTION_CHARACTERS]
    route, _ = state.route(upload.source, upload.target, sample)
    if not route:
        raise ApiError(400, "the file is in the target language already")
    return await state.documents.read(filename, data, (route[0][0], route[-1][1]), route), route


def _check_output_format(output_format: str | None, uploaded: UploadedDocument) -> None:
    suffix = uploaded.document.suffix or PurePath(uploaded.name).suffix
    if output_format and f".{output_format.lower().lstrip('.')}" != suffix.lower():
        raise ApiError(400, f"output_format: the translation of this file is a {suffix} file; leave output_format out")


def download_response(state: ApplicationState, job: DocumentJob) -> FileResponse:
    """Send a translated file.

    Raises:
        ApiError: 404 if the translation is not done.
    """
    if job.status != "done":
        raise ApiError(404, "the file is not translated yet")
    path = state.documents.path(job)
    return FileResponse(path, filename=job.name, media_type=DOWNLOAD_TYPE, headers=DOWNLOAD_HEADERS)
