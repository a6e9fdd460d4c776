"""Vocabularies of Marian's own format: a SentencePiece model, or a YAML file of tokens and rows."""

from __future__ import annotations

import json
from dataclasses import dataclass

import sentencepiece

from allyouneed.data.tokens.segmenters import SentencePieceSegmenter
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.data.tokens.vocabulary import ADDED, AnyTokenizer, VocabularyTokenizer

_SEGMENTERS = {"sentencepiece": "spm", "bpe": "bpe"}
_EOS, _UNK = "</s>", "<unk>"  # Marian finds both by these names in a YAML file


@dataclass(frozen=True)
class NativeVocabulary:
    """One side's vocabulary as Marian reads it.

    Attributes:
        rows: Row of each of our ids in Marian's matrices, or ADDED where Marian has no such token.
        suffix: "spm" if Marian splits text itself, or "yml" if it reads subwords separated by spaces.
        content: Content of the file.
        excluded: Rows that our search never generates and Marian's would.
        segmenter: Suffix and content of the file that splits text into tokens of a YAML vocabulary, as OPUS-MT names
            it: a SentencePiece model or BPE codes; None if there is none.
    """

    rows: list[int]
    suffix: str
    content: bytes
    excluded: list[int]
    segmenter: tuple[str, bytes] | None = None

    def __len__(self) -> int:
        """Return the number of tokens in Marian's vocabulary."""
        return sum(row != ADDED for row in self.rows)


def native_vocabulary(tokenizer: AnyTokenizer) -> NativeVocabulary:
    """Describe one side's vocabulary.

    Marian's own vocabularies have neither padding nor a start token, and its search suppresses the unknown token.

    Args:
        tokenizer: That side's tokenizer.
    """
    names, rows = token_names(tokenizer), list(range(len(tokenizer)))
    if isinstance(tokenizer, VocabularyTokenizer):
        rows = tokenizer.vocabulary.rows
    excluded = [rows[i] for i in (PAD, UNK, BOS) if rows[i] != ADDED] if rows[PAD] != ADDED else []
    ordered = [names[i] for i in sorted(range(len(rows)), key=rows.__getitem__) if rows[i] != ADDED]
    if _splits_itself(tokenizer, ordered, rows):
        return NativeVocabulary(rows, "spm", tokenizer.model, excluded)
    ordered[rows[EOS]], ordered[rows[UNK]] = _EOS, _UNK
    lines = (f"{json.dumps(name, ensure_ascii=False)}: {row}\n" for row, name in enumerate(ordered))
    return NativeVocabulary(rows, "yml", "".join(lines).encode("utf-8"), excluded, _segmenter(tokenizer))


def _segmenter(tokenizer: AnyTokenizer) -> tuple[str, bytes] | None:
    if not isinstance(tokenizer, VocabularyTokenizer) or tokenizer.segmenter.kind not in _SEGMENTERS:
        return None
    return _SEGMENTERS[tokenizer.segmenter.kind], tokenizer.segmenter.model


def token_names(tokenizer: AnyTokenizer) -> list[str]:
    """Return the name of each token in one side's vocabulary."""
    if isinstance(tokenizer, VocabularyTokenizer):
        return tokenizer.vocabulary.names
    return tokenizer.pieces(range(len(tokenizer)))


def _splits_itself(tokenizer: AnyTokenizer, names: list[str], rows: list[int]) -> bool:
    """Return whether a SentencePiece model has the vocabulary's tokens as its pieces, in the order of rows."""
    if isinstance(tokenizer, VocabularyTokenizer) and tokenizer.segmenter.kind != SentencePieceSegmenter.kind:
        return False
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(tokenizer.model)
    if len(processor) != len(names) or [processor.eos_id(), processor.unk_id()] != [rows[EOS], rows[UNK]]:
        return False
    return processor.id_to_piece(list(range(len(names)))) == names
