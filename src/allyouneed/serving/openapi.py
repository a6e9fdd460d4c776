"""What the OpenAPI document says of bodies and errors, since routes read their bodies themselves (JSON or form)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

_ERRORS = {
    400: "The request is wrong; the message says what.",
    403: "The API key is missing or invalid.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    413: "The body or its text is too large.",
    429: "Too many requests; see Retry-After.",
    456: "The key's characters of this month are used up.",
    503: "Too much is waiting, or it took too long; see Retry-After.",
}


class Direct(APIRoute):
    """What takes a request and gives a response is called as it is: FastAPI, which has nothing to check there, takes a
    tenth of a request's time for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        asked = self.dependant
        parts = (asked.path_params, asked.query_params, asked.header_params, asked.cookie_params, asked.body_params)
        if self.response_field is None and asked.request_param_name == "request" and not any(parts):
            return self.endpoint
        return super().get_route_handler()


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    forms = ("application/json", "application/x-www-form-urlencoded")
    return {"requestBody": {"required": True, "content": {form: {"schema": schema} for form in forms}}}


def upload_of(*fields: str, required: tuple[str, ...] = ("target",)) -> dict[str, Any]:
    properties = {"file": {"type": "string", "format": "binary"}, **{name: {"type": "string"} for name in fields}}
    schema = {"type": "object", "properties": properties, "required": ["file", *(set(required) & set(fields))]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def errors(*more: int) -> dict[int | str, dict[str, Any]]:
    """The answers that every translating route may give, and more."""
    codes = sorted({400, 403, 408, 413, 429, 456, 503, *more})
    return {code: {"description": _ERRORS[code]} for code in codes}
