"""Receives uploaded documents and sends their translations, for the routes of all APIs."""

from __future__ import annotations

from itertools import islice
from pathlib import PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse

from allyouneed.errors import UserError
from allyouneed.serving.access.api_keys import owner_of
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import validate
from allyouneed.serving.apis.deepl_glossaries import chosen_glossary, finders_with, glossary_identifiers
from allyouneed.serving.apis.deepl_options import FormalityOption, with_formality
from allyouneed.serving.apis.form_fields import decode_fields
from allyouneed.serving.document_jobs import DocumentJob, UploadedDocument
from allyouneed.serving.registry import LanguagePair, Route
from allyouneed.serving.state import AUTO, ApplicationState

_DETECTION_CHARACTERS = 5000  # the beginning of a file is enough to detect its language
_DETECTION_SEGMENTS = 500
_MAX_FORM_FIELDS = 50
_INVALID = 400
# Browsers do not display an uploaded file as a page of this server, nor keep it.
DOWNLOAD_TYPE = "application/octet-stream"
DOWNLOAD_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}


class UploadFields(BaseModel):
    """Text fields of an upload form, under LibreTranslate's names; the options are those of DeepL."""

    source: str = AUTO
    target: str
    glossary_id: str | None = None
    glossary_ids: list[str] | str | None = None
    formality: FormalityOption = "default"
    output_format: str | None = None


class ReceivedFile(NamedTuple):
    """An uploaded file and its form.

    Attributes:
        fields: Text fields of the form.
        name: File name given by the client.
        data: Content of the file.
        secret: API key of the request, from the headers or the form.
    """

    fields: dict[str, Any]
    name: str
    data: bytes
    secret: str | None


async def receive_upload(state: ApplicationState, request: Request, secret: str | None) -> DocumentJob:
    """Read an upload form and start to translate its document.

    Args:
        state: The server's state.
        request: The request.
        secret: API key from the headers; if None, the form's `api_key` is used.

    Raises:
        ApiError: If the form is invalid, the file cannot be translated, or the request is not admitted.
        UserError: If the document is damaged.
    """
    file = await receive_file(state, request, secret)
    upload = validate(file.fields, UploadFields)
    languages = upload.source, with_formality(state.pipeline.registry, upload.target, upload.formality)
    identifiers = glossary_identifiers(upload.glossary_id, upload.glossary_ids)
    return await start_translation(state, request, file, languages, identifiers, upload.output_format)


async def receive_file(
    state: ApplicationState, request: Request, secret: str | None, key_field: str = "api_key"
) -> ReceivedFile:
    """Read an upload form and check its file.

    Args:
        state: The server's state.
        request: The request.
        secret: API key from the headers; if None, that of the form is used.
        key_field: Name of the form's field for the API key.

    Raises:
        ApiError: If the form is invalid, the key is missing or wrong, or the type of the file is not supported.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(400, "Invalid request: missing file parameter; send a form of type multipart/form-data")
    async with request.form(max_files=1, max_fields=_MAX_FORM_FIELDS) as form:
        texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        fields = decode_fields(texts, repeatable=("glossary_ids",))
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise ApiError(400, "Invalid request: missing file parameter")
        secret = secret or fields.get(key_field)
        if state.access.keys_required:  # before the file is read
            state.access.authenticate(secret)
        data, name = await file.read(), fields.get("filename") or file.filename or ""
    state.documents.check(name, data)
    return ReceivedFile(fields, name, data, secret)


async def start_translation(
    state: ApplicationState,
    request: Request,
    file: ReceivedFile,
    languages: LanguagePair,
    glossaries: list[str],
    output_format: str | None = None,
    reports_errors_later: bool = False,
) -> DocumentJob:
    """Read a document and start to translate it.

    Args:
        state: The server's state.
        request: The request.
        file: The uploaded file.
        languages: Source language or "auto", and target language.
        glossaries: Ids of glossaries.
        output_format: Suffix of the translation, or None for that of the document.
        reports_errors_later: Whether an error of the document itself makes a failed job instead of an error response.

    Raises:
        ApiError: If the file cannot be translated, or the request is not admitted.
        UserError: If the document is damaged.
    """
    try:
        uploaded, route = await _read(state, languages, file)
    except (ApiError, UserError) as error:
        if not reports_errors_later or (isinstance(error, ApiError) and error.status != _INVALID):
            raise
        owner = owner_of(state.admit(request, file.secret))
        return state.documents.failed(file.name, ApiError(_INVALID, str(error)), owner)
    _check_output_format(output_format, uploaded)
    key = state.admit(request, file.secret, uploaded.texts)
    source = None if languages[0] == AUTO else languages[0]
    glossary = await chosen_glossary(state, key, glossaries, source, languages[1])
    job = state.documents.submit(uploaded, route, finders_with(glossary), owner_of(key), request.state.charge)
    request.state.charge = None  # settled at the end of the translation, not of the request
    return job


async def _read(state: ApplicationState, languages: LanguagePair, file: ReceivedFile) -> tuple[UploadedDocument, Route]:
    """Read a document, and find the route for its language, which is detected from its text if it is not given."""
    source, target = languages
    sample = ""
    if source.strip().lower() == AUTO:
        unread = await state.documents.read(file.name, file.data, ("und", target), None)
        sample = "\n".join(islice(unread.texts, _DETECTION_SEGMENTS))[:_DETECTION_CHARACTERS]
    route, _ = state.route(source, target, sample, is_file=True)
    if not route:
        raise ApiError(_INVALID, "Source and target language are equal; name the language of the file if it is another")
    return await state.documents.read(file.name, file.data, (route[0][0], route[-1][1]), route), route


def _check_output_format(output_format: str | None, uploaded: UploadedDocument) -> None:
    suffix = uploaded.document.suffix or PurePath(uploaded.name).suffix
    if output_format and f".{output_format.lower().lstrip('.')}" != suffix.lower():
        raise ApiError(
            _INVALID, f"output_format: the translation of this file is a {suffix} file; leave output_format out"
        )


def download_response(state: ApplicationState, job: DocumentJob) -> FileResponse:
    """Send a translated file.

    Raises:
        ApiError: 404 if the translation is not done.
    """
    if job.status != "done":
        raise ApiError(404, "the file is not translated yet")
    path = state.documents.path(job)
    return FileResponse(path, filename=job.name, media_type=DOWNLOAD_TYPE, headers=DOWNLOAD_HEADERS)


def attachment(name: str) -> dict[str, str]:
    """Return the header that gives a download its file name (RFC 6266)."""
    quoted = quote(name)
    value = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    return {"Content-Disposition": f"attachment; {value}"}
