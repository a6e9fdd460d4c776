"""Protection of text that must not be translated."""

from allyouneed.translation.protection.finding import KeepOptions, KeptPart, find_kept, find_parts
from allyouneed.translation.protection.letters import has_digits, has_letters, without_spans

__all__ = ["KeepOptions", "KeptPart", "find_kept", "find_parts", "has_digits", "has_letters", "without_spans"]
