"""Repair of text that was decoded with the wrong encoding, such as `schÃ¶n`, with ftfy."""

from __future__ import annotations

from ftfy import TextFixerConfig, fix_encoding

_CONFIG = TextFixerConfig(explain=False, replace_lossy_sequences=False)  # repairs only what is certain


def repair_encoding(text: str) -> str:
    """Return a text as it was before it was decoded with the wrong encoding; other texts are not changed."""
    return text if text.isascii() else fix_encoding(text, _CONFIG)
