"""Reading of YAML from other systems' models. No types are constructed: scalars stay text, as in the file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import count
from typing import Any

from allyouneed.errors import UserError

_LARGEST = 1 << 20  # characters of settings
_DEEPEST = 50  # lists and mappings within one another
_MOST_VALUES = 1 << 16  # after aliases are replaced
_MERGE = "<<"


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """Read a mapping; its values are text, lists and mappings.

    Args:
        text: A YAML document.
        name: Name of the file, for messages.

    Returns:
        The mapping, empty for an empty document.

    Raises:
        UserError: If the text is too long, no valid YAML or no mapping, or aliases make it too large, or if PyYAML is
            not installed.
    """
    if len(text) > _LARGEST:
        raise UserError(f"{name}: {len(text):,} characters of settings; at most {_LARGEST:,} are read.")
    try:
        yaml = import_module("yaml")
    except ImportError as error:
        raise UserError("the package pyyaml is not installed: pip install 'allyouneed[exchange]'.") from error
    try:
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # ten times as fast
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.events.CollectionStartEvent)
            depth -= isinstance(event, yaml.events.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError("nested too deeply")
        content = _written_out(yaml.load(text, Loader=loader), count())
    except OverflowError as error:
        raise UserError(
            f"{name}: has more than {_MOST_VALUES:,} values where its aliases (*name) are written out. Get the file "
            "again."
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: is not valid YAML ({reason}).") from error
    if content in (None, ""):
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{name}: is not a YAML mapping of names to values.")
    return content


def _written_out(value: Any, counted: Iterator[int]) -> Any:
    """Copy a value, so that aliases are copies, and merge the mappings of `<<` keys.

    Raises:
        OverflowError: If there are too many values; an alias of an alias may stand for any number.
    """
    if next(counted) > _MOST_VALUES:
        raise OverflowError
    if isinstance(value, list):
        return [_written_out(each, counted) for each in value]
    if not isinstance(value, dict):
        return value
    copied = {key: _written_out(each, counted) for key, each in value.items()}
    merged: Any = copied.get(_MERGE)
    sources = merged if isinstance(merged, list) else [merged]
    if _MERGE not in copied or not all(isinstance(source, dict) for source in sources):
        return copied
    del copied[_MERGE]
    for source in sources:
        copied = {**source, **copied}
    return copied
