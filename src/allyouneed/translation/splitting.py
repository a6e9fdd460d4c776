"""Splitting of texts that are longer than the texts that the model was trained on."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.data.tokens.vocabulary import AnyTokenizer

_SENTENCES = re.compile(r".+?(?:[.!?…]\s+|[。！？]\s*|$)", re.DOTALL)
_WORDS = re.compile(r"\S+\s*")


class TextPart(NamedTuple):
    """A text, or a part of a text.

    Attributes:
        ids: Token ids with the end of sentence.
        separator: Text between the translations of this part and the next.
    """

    ids: list[int]
    separator: str


class TextSplitter:
    """Splits texts into parts that a model can translate.

    Args:
        tokenizer: The source tokenizer.
        max_tokens: Maximum number of tokens of a part, the end of sentence included.
    """

    stand_ins: Mapping[str, int] = MappingProxyType({})

    def __init__(self, tokenizer: AnyTokenizer, max_tokens: int):
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def with_stand_ins(self, characters: Collection[str], tokens: int) -> TextSplitter:
        """Return a splitter for texts in which each of these characters represents up to `tokens` tokens."""
        splitter = copy.copy(self)
        splitter.stand_ins = dict.fromkeys(characters, tokens)
        return splitter

    def split(self, texts: Sequence[str]) -> list[list[TextPart]]:
        """Split each text into as few parts as possible.

        A short text is one part, and an empty text has no parts. Texts that are too long are split at sentence ends,
        sentences that are too long between words, and words that are too long between characters.
        """
        stripped = [text.strip() for text in texts]
        encoded = self.tokenizer.encode_all(stripped)
        return [self._parts(text, ids) for text, ids in zip(stripped, encoded, strict=True)]

    def _parts(self, text: str, ids: list[int]) -> list[TextPart]:
        if len(ids) < self.max_tokens:
            return [TextPart([*ids, EOS], "")] if ids else []
        most = max(1, self.max_tokens - 1)  # fewer than a character may have, and positions may not suffice for more
        parts = ((self.tokenizer.encode(part)[:most], separator) for part, separator in self.cut(text))
        return [TextPart([*ids, EOS], separator) for ids, separator in parts if ids]

    def cut(self, text: str) -> list[tuple[str, str]]:
        """Cut a text into parts that the model can translate, with the text between their translations."""
        limit = self.max_tokens - 1
        if self._length(text) <= limit:
            return [(text, "")]
        code, text = self.tokenizer.split_code(text)  # such as the target language, with which every part begins
        limit -= len(self.tokenizer.encode(code))
        fragments = list(self._fragments(text, limit, (_SENTENCES.findall, _WORDS.findall, list)))
        parts, start = list[str](), 0
        while start < len(fragments):
            end = self._end_of_part(fragments, start, limit)
            parts.append("".join(fragments[start:end]))
            start = end
        return [(f"{code} {part.lstrip()}" if code else part, " " if part[-1].isspace() else "") for part in parts]

    def _end_of_part(self, fragments: Sequence[str], start: int, limit: int) -> int:
        """Return the end of the longest part that begins at `start`: at least one fragment, and at most `limit` tokens.

        The part is found by doubling and bisection, so that the time is linear in the length of the text.
        """

        def fits(end: int) -> bool:
            return self._length("".join(fragments[start:end])) <= limit

        end, step = start + 1, 1
        while end + step <= len(fragments) and fits(end + step):
            end, step = end + step, 2 * step
        while step > 1:
            step //= 2
            if end + step <= len(fragments) and fits(end + step):
                end += step
        return end

    def _fragments(self, text: str, limit: int, splits: tuple[Callable[[str], list[str]], ...]) -> Iterator[str]:
        """Yield the fragments of the first split, and split those that do not fit by the next split."""
        for fragment in splits[0](text):
            if len(splits) == 1 or self._length(fragment) <= limit:
                yield fragment
            else:
                yield from self._fragments(fragment, limit, splits[1:])

    def _length(self, text: str) -> int:
        if not self.stand_ins:
            return len(self.tokenizer.encode(text))
        tokens = sum(self.stand_ins.get(each, 0) for each in text)
        return tokens + len(self.tokenizer.encode("".join(" " if each in self.stand_ins else each for each in text)))
