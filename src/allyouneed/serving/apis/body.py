"""Request bodies: limits on size and receive time, and validation by a pydantic model."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allyouneed.config.descriptions import plain_message
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.form_fields import decode_fields

TOO_LARGE = 413
_UNSUPPORTED_MEDIA_TYPE = 415
_TIMEOUT = 408
_MAX_FORM_FIELDS = 1000
_GLOSSARY_PATHS = ("/v2/glossaries", "/v3/glossaries")
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class BodyLimitMiddleware:
    """Rejects large and slow bodies before they are parsed.

    Args:
        app: The wrapped application.
        body_bytes: Maximum size of a body that is not multipart.
        file_bytes: Maximum size of a multipart body.
        glossary_bytes: Maximum size of the body of a request for a glossary.
        seconds: Time limit for receiving the whole body.
    """

    def __init__(self, app: ASGIApp, body_bytes: int, file_bytes: int, glossary_bytes: int, seconds: float):
        self.app, self.body_bytes, self.file_bytes, self.glossary_bytes = app, body_bytes, file_bytes, glossary_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        max_bytes = self._max_bytes(scope["path"], headers.get(b"content-type", b""))
        content_length = headers.get(b"content-length", b"0")
        too_large = ApiError(TOO_LARGE, f"the body is too large: at most {max_bytes:,} bytes; send less at once")
        received, deadline = 0, asyncio.get_running_loop().time() + self.seconds
        complete = False
        encoding = headers.get(b"content-encoding", b"identity")

        async def receive_limited() -> Message:
            nonlocal received, complete
            if complete:  # the next message is the client's disconnect, which has no deadline
                return await receive()
            if encoding.strip().lower() != b"identity":
                raise ApiError(_UNSUPPORTED_MEDIA_TYPE, "send the body uncompressed, without Content-Encoding")
            if not content_length.isdigit() or int(content_length) > max_bytes:
                raise too_large
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(_TIMEOUT, f"the body did not arrive within {self.seconds:g} seconds") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > max_bytes:
                raise too_large
            return message

        await self.app(scope, receive_limited, send)

    def _max_bytes(self, path: str, content_type: bytes) -> int:
        if path.startswith(_GLOSSARY_PATHS):
            return self.glossary_bytes
        return self.file_bytes if content_type.startswith(b"multipart/") else self.body_bytes


def check_unicode(text: str) -> str:
    """Return the text unchanged if it can be encoded as UTF-8.

    Raises:
        ValueError: If the text has an unpaired surrogate, which JSON can express but UTF-8 cannot.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode: unpaired surrogate") from None
    return text


UnicodeText = Annotated[str, AfterValidator(check_unicode)]
RequestModel = TypeVar("RequestModel", bound=BaseModel)


async def read_body(
    request: Request,
    model: type[RequestModel],
    lists: tuple[str, ...] = (),
    repeatable: tuple[str, ...] = (),
    with_query: bool = False,
) -> RequestModel:
    """Read and validate a JSON or form body. Fields that are null count as omitted.

    Args:
        request: The request.
        model: Model to validate the body with.
        lists: Form fields that are always a list.
        repeatable: Form fields that are a list if they are given more than once.
        with_query: Whether fields may be in the query string, too; those of the body take precedence.

    Raises:
        ApiError: 400 if the body is malformed or invalid, the message names the field; 415 for another media type.
    """
    content = await _content(request, lists, repeatable)
    if with_query and isinstance(content, dict):
        content = decode_fields(request.query_params.multi_items(), lists, repeatable) | content
    return validate(content, model)


async def _content(request: Request, lists: tuple[str, ...], repeatable: tuple[str, ...]) -> Any:
    """Decode a body; an empty one has no fields."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _FORM_TYPES:
        form = await request.form(max_files=1, max_fields=_MAX_FORM_FIELDS)
        return decode_fields(form.multi_items(), lists, repeatable)
    body = await request.body()
    if not body.strip():
        return {}
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ApiError(_UNSUPPORTED_MEDIA_TYPE, "send the body as application/json or as a form, in Content-Type")
    try:
        content = decode_json(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON in UTF-8") from None
    return (
        {name: value for name, value in content.items() if value is not None} if isinstance(content, dict) else content
    )


def decode_json(data: bytes) -> Any:
    """Decode JSON as RFC 8259 has it: in UTF-8, without NaN, and with each name once, since parsers disagree on others.

    A byte-order mark is ignored, as RFC 8259 allows.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def validate(content: Any, model: type[RequestModel]) -> RequestModel:
    """Validate decoded content.

    Raises:
        ApiError: 400 naming the first invalid field.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ApiError(400, _describe(error)) from None


def _describe(error: ValidationError) -> str:
    """Describe the first invalid field. A value that has none of several types has one error for each type."""
    errors = error.errors(include_url=False, include_input=False)
    name = errors[0]["loc"][:1]
    same_field = [each for each in errors if each["loc"][:1] == name]
    first = max(same_field, key=lambda each: (bool(_index(each)), not each["type"].endswith("_type")))
    field = ".".join(map(str, (*name, *_index(first)))) or "the body"
    if first["type"] == "missing":
        return f"Invalid request: missing {field} parameter"
    if _index(first) or not first["type"].endswith("_type"):
        return f"{field}: {plain_message(first)}"
    return f"{field}: {' or '.join(dict.fromkeys(map(plain_message, same_field))).replace(' or must be ', ' or ')}"


def _index(error: ErrorDetails) -> tuple[int, ...]:
    """Return the index of the list item that an error is about, or an empty tuple."""
    return tuple(part for part in error["loc"][1:] if isinstance(part, int))


def check_length(characters: int, limit: int, status: int = 400) -> None:
    """Reject a text that is too long.

    Raises:
        ApiError: With the given status if `characters` exceeds `limit`.
    """
    if characters > limit:
        message = f"the text has {characters:,} characters; the limit is {limit:,}. Send it in parts."
        raise ApiError(status, message)
