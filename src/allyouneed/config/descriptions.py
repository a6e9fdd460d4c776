"""Descriptions of settings: for error messages, `allyouneed settings` and the documentation."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_KINDS = {int: "a whole number", float: "a number"}
_BOUNDS = {  # for each bound of pydantic: the comparison that detects a violation, and its wording in messages
    "ge": (operator.lt, "at least"),
    "gt": (operator.le, "more than"),
    "le": (operator.gt, "at most"),
    "lt": (operator.ge, "less than"),
}
_MESSAGES = {  # wording of pydantic's error types; braces are filled in from the error's context
    "extra_forbidden": "unknown field",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a JSON object"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have at most {max_length} items",
    "literal_error": "must be {expected}",
    **{
        error: f"must be {_BOUNDS[bound][1]} {{{bound}}}"
        for error, bound in (
            ("greater_than_equal", "ge"),
            ("greater_than", "gt"),
            ("less_than_equal", "le"),
            ("less_than", "lt"),
        )
    },
}
_TAG = re.compile(r"<[^<>,\s]+>")
_LONGEST_VALUE = 60  # maximum number of characters of a value in a message


@dataclass(frozen=True)
class Setting:
    """A setting as `allyouneed settings` lists it.

    Attributes:
        name: `SECTION.NAME`, as in `--set`.
        default: The value without a recipe and without `--set`, formatted as in `--set`.
        allowed: Readable description of the allowed values, for example `a whole number from 1 to 1000`.
        choices: The allowed values if they can be listed, for shell completion; else empty.
        bounds: The bounds of a number by pydantic's names: `ge`, `gt`, `le`, `lt`.
        description: What the setting does.
    """

    name: str
    default: str
    allowed: str
    choices: tuple[str, ...]
    bounds: dict[str, float]
    description: str


def describe(sections: type[BaseModel]) -> Iterator[Setting]:
    """List the settings of a model whose fields are sections, in the order of declaration."""
    for section, declared in sections.model_fields.items():
        for name, field in _fields(declared).items():
            yield Setting(
                name=f"{section}.{name}",
                default=shown(field.default),
                allowed=allowed(field),
                choices=tuple(_choices(field)),
                bounds=_bounds(field.metadata) or _item_bounds(field),
                description=field.description or "",
            )


def allowed(field: FieldInfo) -> str:
    """Describe the allowed values of a field, for example `post or pre` or `a number from 0 to 1, or none`."""
    choices = [choice for choice in _choices(field) if choice != "none"]
    end = ", or none" if type(None) in _kinds(field) else ""
    if choices:
        return " or ".join([*filter(None, [", ".join(choices[:-1])]), choices[-1]]) + end
    [kind] = (kind for kind in _kinds(field) if kind is not type(None))
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        return f"{get_args(get_args(kind)[0])[1].description}, separated by commas, or none"
    if get_origin(kind) is tuple:
        names = " or names" if get_origin(get_args(kind)[0]) in (Union, UnionType) else ""
        return f"{len(get_args(kind))} whole numbers {_range(_item_bounds(field))}{names}{end}"
    return f"{_KINDS[kind]} {_range(_bounds(field.metadata))}{end}"


def complaint(field: FieldInfo, value: object, index: int | None = None) -> str:
    """Describe why a value is invalid: the bound that it violates, or else the allowed values.

    Args:
        field: The field that rejected the value.
        value: The rejected value, or the rejected item of a tuple.
        index: Index of the item in the tuple, or None if the value is not an item.

    Returns:
        A phrase such as `at most 1000` or `expected post or pre`.
    """
    bounds = _bounds(field.metadata) if index is None else _item_bounds(field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, bound in bounds.items():
            violates, phrase = _BOUNDS[name]
            if violates(value, bound):
                return f"{phrase} {shown(bound)}"
    return f"expected {allowed(field)}"


def plain_message(error: Mapping[str, Any]) -> str:
    """Describe an error of pydantic in the wording of this package.

    Args:
        error: One of `ValidationError.errors()`.

    Returns:
        A phrase such as `must be at least 1`, without a full stop.
    """
    message = _MESSAGES.get(error["type"])
    if message is None:
        return str(error["msg"]).removeprefix("Value error, ")
    context = {
        name: f"{value:.15g}" if isinstance(value, float) else value for name, value in error.get("ctx", {}).items()
    }
    return message.format_map(context)


def problem_with(model: type[BaseModel], name: str, value: object) -> str | None:
    """Return a sentence that describes why a value of one field of a model is invalid; None if it is valid."""
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        return f"{plain_message(error.errors()[0])}."
    return None


def shown(value: object) -> str:
    """Format a value as in `--set`, on one line of limited length."""
    if isinstance(value, tuple) and not value:
        return "none"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    try:
        text = ",".join(map(shown, value)) if isinstance(value, tuple | list) else str(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "(a number with thousands of digits)"
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def assigned(value: object) -> str:
    """Format a value for `--set SECTION.NAME=VALUE` as one types it, in full."""
    if isinstance(value, tuple | list) and value and all(isinstance(item, str) for item in value):
        plain = all(_TAG.fullmatch(item) for item in value)
        return ",".join(value) if plain else json.dumps(value, ensure_ascii=False)
    return shown(value)


def _fields(section: FieldInfo) -> dict[str, FieldInfo]:
    return section.annotation.model_fields  # type: ignore[union-attr]  # sections are models, as `describe` requires


def _kinds(field: FieldInfo) -> tuple[Any, ...]:
    is_union = get_origin(field.annotation) in (Union, UnionType)
    return get_args(field.annotation) if is_union else (field.annotation,)


def _choices(field: FieldInfo) -> Iterator[str]:
    for kind in _kinds(field):
        if kind is bool:
            yield from ("true", "false")
        elif get_origin(kind) is Literal:
            yield from get_args(kind)


def _bounds(metadata: Iterable[object]) -> dict[str, float]:
    return {name: getattr(each, name) for each in metadata for name in _BOUNDS if hasattr(each, name)}


def _item_bounds(field: FieldInfo) -> dict[str, float]:
    """Return the bounds of a tuple's items, whose type is `Annotated[int, Field(...)]`; {} if it is not a tuple.

    If items may be text as well, their type is a union that begins with that of numbers.
    """
    if get_origin(field.annotation) is not tuple:
        return {}
    item = get_args(field.annotation)[0]
    number = get_args(item)[0] if get_origin(item) in (Union, UnionType) else item
    return _bounds(get_args(number)[1].metadata)


def _range(bounds: dict[str, float]) -> str:
    if bounds.keys() == {"ge", "le"}:
        return f"from {shown(bounds['ge'])} to {shown(bounds['le'])}"
    return ", ".join(f"{_BOUNDS[name][1]} {shown(bound)}" for name, bound in bounds.items())
