"""Bodies: no more bytes than allowed, no longer on their way than allowed, and what is in them checked by a model."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allyouneed.serving.api_errors import ApiError

_TOO_LARGE, _TOO_SLOW = 413, 408
_MOST_FIELDS = 1000  # of a form


class BodyLimit:
    """Refuses a body before it is parsed, by what it says of its length and by what comes."""

    def __init__(self, app: ASGIApp, body_bytes: int, file_bytes: int, seconds: float):
        self.app, self.body_bytes, self.file_bytes, self.seconds = app, body_bytes, file_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        is_file = headers.get(b"content-type", b"").startswith(b"multipart/")
        most = self.file_bytes if is_file else self.body_bytes
        length = headers.get(b"content-length", b"0")
        too_large = ApiError(_TOO_LARGE, f"the body is too large: at most {most:,} bytes; send less at once")
        seen, until = 0, asyncio.get_running_loop().time() + self.seconds
        complete = False

        async def limited() -> Message:
            nonlocal seen, complete
            if complete:  # what is waited for now is that the client leaves
                return await receive()
            if not length.isdigit() or int(length) > most:
                raise too_large
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise ApiError(_TOO_SLOW, f"the body did not arrive within {self.seconds:g} seconds") from None
            seen += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if seen > most:
                raise too_large
            return message

        await self.app(scope, limited, send)


def _is_unicode(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("not Unicode: half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_is_unicode)]
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model], lists: tuple[str, ...] = ()) -> Model:
    """A JSON or form body as `model`. lists: names of a form's fields that may come several times.

    Errors: `ApiError` 400 for what is not one, naming the field.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ):
        form = await request.form(max_files=1, max_fields=_MOST_FIELDS)
        content: Any = {name: form.getlist(name) if name in lists else form[name] for name in form}
    else:
        try:
            content = json.loads((await request.body()).decode("utf-8"))
        except (ValueError, RecursionError):
            raise ApiError(400, "the body is neither JSON in UTF-8 nor a form") from None
    return checked(content, model)


def checked(content: Any, model: type[Model]) -> Model:
    """Errors: `ApiError` 400 naming the first field that is wrong."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][:1]) or "the body"
        missing = first["type"] == "missing"
        message = first["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"missing {place} parameter" if missing else f"{place}: {message}") from None


def refuse_long(characters: int, most: int, status: int = 400) -> None:
    """Errors: `ApiError` when a text is over the limit."""
    if characters > most:
        raise ApiError(status, f"the text has {characters:,} characters; at most {most:,} are taken. Send it in parts.")
