"""Segmentation of text by models of other programs: byte-pair encoding (BPE) of subword-nmt or fastBPE, or at spaces.

Words may be separated from punctuation first, by the Moses tokenizer. SentencePiece has a class of its own here with
the same interface.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from allyouneed.data.tokens.sentencepiece_model import open_model
from allyouneed.errors import UserError

_END = "</w>"  # the end of a word in BPE codes
_CACHED_WORDS = 65_536
_MAX_WORD = 1000  # characters; longer words are cut, since the time of BPE grows with the square of the length
_MAX_CODES = 2_000_000
_SPECIAL = {"<pad>", "<unk>", "<s>", "</s>"}


class Segmenter(Protocol):
    """Conversion between text and the tokens that a vocabulary names.

    Attributes:
        kind: Name in stored settings, such as "sentencepiece", "bpe" or "space".
        model: Content of a stored file: a SentencePiece model or BPE codes; empty without one.
    """

    kind: ClassVar[str]
    model: bytes

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        ...

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens."""
        ...

    def shown(self, tokens: Sequence[str]) -> list[str]:
        """Return each token of a text as SentencePiece would write it, with ▁ for a space."""
        ...

    def tokens(self, shown: Sequence[str]) -> list[str]:
        """Return the tokens that `shown` writes so."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what `load_segmenter` needs besides `model`."""
        ...


class SentencePieceSegmenter:
    """Segmentation by a SentencePiece model, which also normalises text.

    Args:
        model: A serialised SentencePiece model.

    Raises:
        RuntimeError: If it is something else.
    """

    kind: ClassVar[str] = "sentencepiece"

    def __init__(self, model: bytes):
        self.model = model
        self._processor = open_model(model)

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return self._processor.encode(text, out_type=str)

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens."""
        return self._processor.decode_pieces(list(tokens)).replace("▁", " ").strip()

    def shown(self, tokens: Sequence[str]) -> list[str]:
        """Return the tokens."""
        return list(tokens)

    def tokens(self, shown: Sequence[str]) -> list[str]:
        """Return the tokens."""
        return list(shown)

    def settings(self) -> dict[str, Any]:
        """Return what `load_segmenter` needs besides `model`."""
        return {}


@dataclass(frozen=True)
class Moses:
    """The Moses tokenizer and detokenizer, as implemented by sacremoses.

    Attributes:
        language: Code of the language, whose abbreviations and contractions are kept.
        escape: Write special characters as in HTML, such as `&apos;`.
        dashes: Separate words at dashes, which become `@-@`.
        punctuation: Normalise punctuation first, for example quotation marks.
    """

    language: str
    escape: bool = True
    dashes: bool = True
    punctuation: bool = False

    def split(self, text: str) -> str:
        """Separate words and punctuation by spaces."""
        text = self._functions[2](text) if self.punctuation else text
        return self._functions[0](text, aggressive_dash_splits=self.dashes, return_str=True, escape=self.escape)

    def join(self, text: str) -> str:
        """Undo `split`, as far as the language's rules tell."""
        return self._functions[1](text.split())

    def shown(self, token: str) -> str:
        """Return a token as it is written in the text."""
        if self.dashes and len(token) == 3 and token[0] == token[2] == "@":
            return token[1]
        return html.unescape(token) if self.escape and token.startswith("&") else token

    @cached_property
    def _functions(self) -> tuple[Callable[..., str], Callable[..., str], Callable[..., str]]:
        try:
            import sacremoses  # an extra that only some imported models need
        except ImportError as error:
            raise UserError("the package sacremoses is not installed: pip install 'allyouneed[exchange]'.") from error
        return (
            sacremoses.MosesTokenizer(self.language).tokenize,
            sacremoses.MosesDetokenizer(self.language).detokenize,
            sacremoses.MosesPunctNormalizer(self.language).normalize,
        )


class SpaceSegmenter:
    """Tokens are what stands between spaces.

    Args:
        moses: Separates words from punctuation first; None for text that is already tokenized.
    """

    kind: ClassVar[str] = "space"
    model = b""

    def __init__(self, moses: Moses | None = None):
        self.moses = moses

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return self.words(text)

    def words(self, text: str) -> list[str]:
        """Return the words of a text."""
        return (self.moses.split(text) if self.moses else text).split()

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens."""
        text = self.joined(tokens)
        return self.moses.join(text) if self.moses else text

    def joined(self, tokens: Sequence[str]) -> str:
        """Return the words of tokens, separated by spaces."""
        return " ".join(tokens)

    def shown(self, tokens: Sequence[str]) -> list[str]:
        """Return each token with ▁ at the beginning of a word."""
        bodies = [self.moses.shown(token) if self.moses else token for token in tokens]
        return [body if token in _SPECIAL else f"▁{body}" for token, body in zip(tokens, bodies, strict=True)]

    def tokens(self, shown: Sequence[str]) -> list[str]:
        """Return the tokens that `shown` writes so; of several, the one that Moses produces."""
        bodies = [each.removeprefix("▁") for each in shown]
        return [self.moses.split(body) if self.moses and body else body for body in bodies]

    def settings(self) -> dict[str, Any]:
        """Return what `load_segmenter` needs besides `model`."""
        return {"moses": asdict(self.moses)} if self.moses else {}


class BpeSegmenter(SpaceSegmenter):
    """Byte-pair encoding by the codes of subword-nmt or fastBPE: the first merge of the list is applied first.

    Args:
        model: The codes file: an optional line `#version: 0.2`, then two symbols a line (three columns in fastBPE).
        separator: What tokens inside a word end with.
        moses: Separates words from punctuation first; None for text that is already tokenized.

    Raises:
        ValueError: If the file is not a list of BPE codes.
    """

    kind: ClassVar[str] = "bpe"

    def __init__(self, model: bytes, separator: str = "@@", moses: Moses | None = None):
        super().__init__(moses)
        self.model, self.separator = model, separator
        self._ranks, self._joint_end = read_codes(model)
        self._pieces = lru_cache(_CACHED_WORDS)(self._segment)
        self._vocabulary: frozenset[str] | None = None

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return [piece for word in self.words(text) for piece in self._pieces(word)]

    def joined(self, tokens: Sequence[str]) -> str:
        """Return the words of tokens, separated by spaces."""
        return f"{' '.join(tokens)} ".replace(f"{self.separator} ", "").rstrip()

    def shown(self, tokens: Sequence[str]) -> list[str]:
        """Return each token with ▁ at the beginning of a word instead of the separator at its end."""
        found, inside = [], False
        for token in tokens:
            continues = token.endswith(self.separator) and token != self.separator
            body = token.removesuffix(self.separator) if continues else token
            body = self.moses.shown(body) if self.moses else body
            found.append(body if inside or token in _SPECIAL else f"▁{body}")
            inside = continues
        return found

    def tokens(self, shown: Sequence[str]) -> list[str]:
        """Return the tokens that `shown` writes so; of several, the one that Moses produces."""
        bodies = super().tokens(shown)
        inside = (after.startswith("▁") or after in _SPECIAL for _, after in pairwise([*shown, "▁"]))
        return [body if ends else body + self.separator for body, ends in zip(bodies, inside, strict=True)]

    def settings(self) -> dict[str, Any]:
        """Return what `load_segmenter` needs besides `model`."""
        restricted = {} if self._vocabulary is None else {"restricted": True}
        return {**super().settings(), "separator": self.separator, **restricted}

    def restrict(self, vocabulary: Sequence[str]) -> None:
        """Undo merges until all tokens of a word are in a vocabulary, as subword-nmt does with a vocabulary."""
        self._vocabulary = frozenset(vocabulary)
        self._pieces.cache_clear()

    @cached_property
    def _merges(self) -> dict[str, tuple[str, str]]:
        """The pair of symbols that each longer symbol was made of; of several, the first of the list."""
        return {first + second: (first, second) for first, second in reversed(self._ranks)}

    def _divided(self, piece: str, is_end: bool, vocabulary: frozenset[str]) -> Iterator[str]:
        """Divide a piece of a word until its parts are in the vocabulary or are single symbols."""
        end = _END if is_end and self._joint_end else ""
        pending = [(piece, is_end)]
        while pending:
            part, ends = pending.pop()
            symbol = part + (end if ends else "")
            if (part if ends else part + self.separator) in vocabulary or symbol not in self._merges:
                yield part
                continue
            left, right = self._merges[symbol]
            right = right.removesuffix(end) if ends else right
            pending += [(right, ends), (left, False)] if right else [(left, ends)]

    def _segment(self, word: str) -> tuple[str, ...]:
        """Return the tokens of a word."""
        parts = [word[start : start + _MAX_WORD] for start in range(0, len(word), _MAX_WORD)]
        merged = [piece for part in parts for piece in self._merge(part, part is parts[-1])]
        if self._vocabulary is not None:
            ends = [False] * (len(merged) - 1) + [True]
            pairs = zip(merged, ends, strict=True)
            merged = [part for piece, is_end in pairs for part in self._divided(piece, is_end, self._vocabulary)]
        return (*(piece + self.separator for piece in merged[:-1]), merged[-1])

    def _merge(self, word: str, is_end: bool) -> list[str]:
        if len(word) == 1:
            return [word]
        end = _END if is_end else ""
        symbols = [*word[:-1], word[-1] + end] if self._joint_end else [*word, *([end] if end else [])]
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: self._ranks.get(pair, _MAX_CODES))
            if best not in self._ranks:
                break
            symbols = list(_merged(symbols, best))
        symbols[-1] = symbols[-1].removesuffix(end)
        return symbols if symbols[-1] else symbols[:-1]


def _merged(symbols: Sequence[str], pair: tuple[str, str]) -> Iterator[str]:
    """Join each occurrence of a pair of symbols, from left to right."""
    index = 0
    while index < len(symbols):
        matches = tuple(symbols[index : index + 2]) == pair
        yield pair[0] + pair[1] if matches else symbols[index]
        index += 2 if matches else 1


def read_codes(content: bytes) -> tuple[dict[tuple[str, str], int], bool]:
    """Read BPE codes of subword-nmt or fastBPE.

    Returns:
        The rank of each pair of symbols, and whether the end of a word is part of its last symbol, as it is in version
        0.2 of subword-nmt and in fastBPE; in version 0.1 it is a symbol.

    Raises:
        ValueError: If the content is something else.
    """
    lines = content.decode("utf-8").removesuffix("\n").split("\n")
    joint_end = lines[0].startswith("#version:")
    if joint_end:
        version = [int(number) for number in lines.pop(0).removeprefix("#version:").strip().split(".")]
        joint_end = version >= [0, 2]
    ranks: dict[tuple[str, str], int] = {}
    columns = {len(line.strip("\r ").split(" ")) for line in lines}
    if len(lines) > _MAX_CODES or columns not in ({2}, {3}):
        raise ValueError("not a list of BPE codes")
    for rank, line in enumerate(lines):
        first, second, *_ = line.strip("\r ").split(" ")
        ranks.setdefault((first, second), rank)
    return ranks, joint_end or columns == {3}
