"""OpenAPI descriptions of bodies and errors; routes read their own bodies, which may be JSON or forms."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

_ERRORS = {
    400: "The request is invalid; see the message.",
    403: "The API key is missing or invalid.",
    404: "Not found.",
    408: "The body did not arrive in time.",
    413: "The body or its text is too large.",
    415: "The body is neither JSON nor a form.",
    429: "Too many requests; see Retry-After.",
    456: "The key's monthly quota is used up.",
    503: "The queue is full or the request timed out; see Retry-After.",
}
_COMMON_ERRORS = (400, 403, 408, 413, 415, 429, 456, 503)


class DirectRoute(APIRoute):
    """Skips FastAPI's dependency machinery for handlers that take only a request and return a response.

    The machinery takes about a tenth of a request's time and has nothing to validate there.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        dependant = self.dependant
        parameters = (
            dependant.path_params,
            dependant.query_params,
            dependant.header_params,
            dependant.cookie_params,
            dependant.body_params,
        )
        if self.response_field is None and dependant.request_param_name == "request" and not any(parameters):
            return self.endpoint
        return super().get_route_handler()


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body that may be JSON or a form."""
    schema = _inlined(model.model_json_schema())
    media_types = ("application/json", "application/x-www-form-urlencoded")
    return {
        "requestBody": {"required": True, "content": {media_type: {"schema": schema} for media_type in media_types}}
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Put definitions where they are used, since references are relative to the whole OpenAPI document."""
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, list):
            return [inline(each) for each in part]
        if not isinstance(part, dict):
            return part
        if reference := part.get("$ref"):
            return inline(definitions[reference.rpartition("/")[2]])
        return {name: inline(value) for name, value in part.items()}

    found: dict[str, Any] = inline(schema)
    return found


def upload_body(*fields: str, required: tuple[str, ...] = ("target",)) -> dict[str, Any]:
    """Describe a multipart form with a file and text fields."""
    properties = {"file": {"type": "string", "format": "binary"}, **{name: {"type": "string"} for name in fields}}
    schema = {"type": "object", "properties": properties, "required": ["file", *(set(required) & set(fields))]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def error_responses(*more: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that every translation route may return, and those with further statuses."""
    return {status: {"description": _ERRORS[status]} for status in sorted({*_COMMON_ERRORS, *more})}
