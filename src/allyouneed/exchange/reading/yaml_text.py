"""Reading of YAML from other systems' models. No types are constructed: scalars stay text, as in the file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from allyouneed.errors import UserError

_LARGEST = 1 << 22  # characters of settings


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """Read a mapping; its values are text, lists and mappings.

    Args:
        text: A YAML document.
        name: Name of the file, for messages.

    Returns:
        The mapping, empty for an empty document.

    Raises:
        UserError: If the text is too long, no valid YAML, no mapping, or has aliases, or if PyYAML is not installed.
    """
    if len(text) > _LARGEST:
        raise UserError(f"{name}: {len(text):,} characters of settings; at most {_LARGEST:,} are read.")
    try:
        yaml = import_module("yaml")
    except ImportError as error:
        raise UserError("the package pyyaml is not installed: pip install 'allyouneed[exchange]'.") from error
    try:
        if any(isinstance(event, yaml.events.AliasEvent) for event in yaml.parse(text, Loader=yaml.BaseLoader)):
            raise UserError(f"{name}: YAML aliases (*name) are not read. Write the values out.")
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: is not valid YAML ({reason}).") from error
    if content in (None, ""):
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{name}: is not a YAML mapping of names to values.")
    return content
