"""What is at the ends of a sentence besides its text, such as the value in "Name: {name}", and is copied.

The model translates the rest, so that these parts and their punctuation stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from allyouneed.translation.protection.letters import has_letters
from allyouneed.translation.word_alignment import Span

_MARKS = r"\s*[:,;]\s+|\s+[=|→–—-]\s+|\s*[：，、；]\s*"  # between a kept part and text
_AFTER, _BEFORE = re.compile(rf"[)\]»”\"'）」]?(?:{_MARKS})"), re.compile(rf"(?:{_MARKS})[(\[«“\"'（「]?$")
_LABEL, _LABEL_END = re.compile(r"\s*[:=]\s+|\s*：\s*"), re.compile(r"(?:\s*[:=]\s+|\s*：\s*)$")  # between kept parts
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ("«", "»"), ("“", "”"), ("（", "）"), ("「", "」"))
_ENDS = (".", "!", "?", "…", "。", "！", "？")


class Frame(NamedTuple):
    """A sentence in three parts.

    Attributes:
        text: The sentence.
        start: Where the part that is translated begins.
        end: Where it ends.
    """

    text: str
    start: int
    end: int

    @property
    def head(self) -> str:
        """What precedes the text."""
        return self.text[: self.start]

    @property
    def tail(self) -> str:
        """What follows the text."""
        return self.text[self.end :]

    def trimmed(self, translation: str, last: int) -> str:
        """Remove the punctuation with which a model ends the translation of a text that goes on.

        Args:
            translation: The translation of the text.
            last: End of the last part that must stay.
        """
        end = len(translation.rstrip())
        goes_on = self.tail and not self.text[: self.end].rstrip().endswith(_ENDS)
        return translation[: end - 1] if goes_on and end > last and translation[:end].endswith(_ENDS) else translation


def frame_of(text: str, kept: Sequence[Span]) -> Frame:
    """Divide a sentence that has letters besides its kept parts.

    Args:
        text: The sentence.
        kept: Positions of its kept parts, in order, without overlap.
    """
    parts = [(start, end) for start, end in kept if not text[start:end].isspace()]
    starts, ends = [0, *(end for _, end in parts)], [*(start for start, _ in parts), len(text)]
    gaps = list(zip(starts, ends, strict=True))
    lettered = [index for index, (start, end) in enumerate(gaps) if has_letters(text[start:end])]
    if not parts or not lettered:
        return Frame(text, 0, len(text))
    start, end = 0, len(text)
    for index in range(lettered[0], 0, -1):
        pattern = _AFTER if index == lettered[0] else _LABEL
        if found := pattern.match(text, *gaps[index]):
            start = found.end()
            break
    for index in range(lettered[-1], len(gaps) - 1):
        pattern = _BEFORE if index == lettered[-1] else _LABEL_END
        if found := pattern.search(text[: gaps[index][1]], max(gaps[index][0], gaps[index][1] - 20)):
            end = found.start()
            break
    is_head, is_tail = (_is_balanced(text, span, parts) for span in ((0, start), (end, len(text))))
    return Frame(text, start * is_head, end if is_tail else len(text))


def _is_balanced(text: str, span: Span, parts: Sequence[Span]) -> bool:
    """Return whether brackets and quotation marks beside kept parts are in pairs."""
    rest, position = "", span[0]
    for start, end in parts:
        if span[0] <= start and end <= span[1]:
            rest += text[position:start]
            position = end
    rest += text[position : span[1]]
    return all(rest.count(a) == rest.count(b) for a, b in _PAIRS) and rest.count('"') % 2 == rest.count("'") % 2 == 0
