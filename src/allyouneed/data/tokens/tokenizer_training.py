"""Training of a SentencePiece tokenizer, and the choice of a vocabulary size that fits the text."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import sentencepiece

from allyouneed.data.tokens.text_counts import LONGEST_SENTENCE, TextCounts
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from allyouneed.errors import UserError
from allyouneed.interruption import run_interruptibly

_FIXED = 4 + 256  # the special tokens and the bytes, which are in every vocabulary
_ROOM = 1200  # subwords beside the characters, if these take more than half of an adjustable size (docs/experiments.md)
_COVERAGES = (0.999, 0.995, 0.99, 0.98)  # suggested if a vocabulary is too small
_LIMIT = 4_000_000  # characters of different words, see `data.tokenizer_characters`


def learn_tokenizer(
    sentences: Iterable[str],
    vocab_size: int,
    subwords: str = "bpe",
    character_coverage: float = 0.9999,
    symbols: Sequence[str] = (),
    adjustable: bool = False,
) -> Tokenizer:
    """Train a tokenizer on sentences, see `learn_from_counts`.

    Args:
        sentences: Training text of both languages.
        vocab_size: Vocabulary size; reduced if the text does not support as many subwords.
        subwords: Algorithm: "bpe", "unigram", "word" or "char".
        character_coverage: Share of the text's characters, 0.98 to 1, that is covered without bytes.
        symbols: User-defined symbols, each of which is always a single token.
        adjustable: Whether to raise a size that leaves too little room for subwords beside the characters.

    Raises:
        UserError: If there is too little text, or `vocab_size` is smaller than the number of bytes and characters.
    """
    text = TextCounts(subwords, _LIMIT, symbols)
    for sentence in sentences:
        text.add(sentence)
    return learn_from_counts(text, vocab_size, subwords, character_coverage, symbols, adjustable)


def learn_from_counts(
    text: TextCounts,
    vocab_size: int,
    subwords: str,
    character_coverage: float,
    symbols: Sequence[str] = (),
    adjustable: bool = False,
) -> Tokenizer:
    """Train a tokenizer; characters outside its vocabulary are encoded as bytes.

    Args:
        text: Training text of both languages.
        vocab_size: Vocabulary size; reduced if the text does not support as many subwords.
        subwords: Algorithm: "bpe", "unigram", "word" or "char".
        character_coverage: Share of the text's characters, 0.98 to 1, that is covered without bytes.
        symbols: User-defined symbols, each of which is always a single token.
        adjustable: Whether to raise a size that leaves too little room for subwords beside the characters, instead of
            refusing a size below the number of characters.

    Raises:
        UserError: If there is too little text, or `vocab_size` is smaller than the number of bytes and characters.
    """
    if not text:
        raise UserError("there is no text to train the tokenizer on.")
    size = vocab_size
    if adjustable:
        size = roomy_size(text.characters(), vocab_size, subwords, character_coverage, len(symbols))
    while True:
        try:
            return _learn(text, size, subwords, character_coverage, symbols)
        except RuntimeError as error:
            smallest = _smallest_size(str(error), len(symbols))
            largest = re.search(r"value <= (\d+)", str(error))
            if smallest and not adjustable:
                raise _too_small(text.characters(), size, smallest, len(symbols)) from error
            new_size = smallest or (int(largest[1]) if largest else size)
            if new_size == size:
                reason = str(error).splitlines()[-1]
                raise UserError(f"data.vocab_size = {size} does not fit this corpus: {reason}") from error
            size = new_size


def _smallest_size(error: str, symbols: int) -> int | None:
    """Return the size that SentencePiece requires if its error is that a vocabulary is too small, else None."""
    if needed := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return int(needed[1])
    return _FIXED + symbols + 1 if "(vocab_size) >= (0)" in error else None


def roomy_size(
    characters: Counter[str], vocab_size: int, subwords: str, character_coverage: float, symbols: int = 0
) -> int:
    """Return a vocabulary size with room for subwords beside the characters of the text.

    Args:
        characters: Occurrences of each character of the text.
        vocab_size: The smallest size to return.
        subwords: Algorithm. A vocabulary of words needs no characters, and one of characters nothing else.
        character_coverage: Share of the text's characters that is covered without bytes.
        symbols: Number of user-defined symbols.
    """
    if subwords == "word":
        return max(vocab_size, _FIXED + symbols + 1)
    needed = _FIXED + symbols + covered_characters(characters, character_coverage)
    is_crowded = needed > vocab_size / 2 and subwords != "char"
    return max(vocab_size, needed + (_ROOM if is_crowded else 0))


def describe_size(tokenizer: Tokenizer, vocab_size: int) -> Iterator[str]:
    """Yield a line for each side whose vocabulary has another size than requested."""
    sides = [("", tokenizer)] if tokenizer.shared else [("source: ", tokenizer), ("target: ", tokenizer.target)]
    for side, each in sides:
        if len(each) < vocab_size:
            yield f"{side}the text supports {len(each):,} subwords, not {vocab_size:,}"
        elif len(each) > vocab_size:
            yield f"{side}{len(each):,} subwords instead of {vocab_size:,}, since the text has many characters"


def covered_characters(counts: Counter[str], character_coverage: float) -> int:
    """Return how many of the most frequent characters make up a share of the text."""
    total, covered = sum(counts.values()), 0
    for number, (_, count) in enumerate(counts.most_common(), 1):
        covered += count
        if covered >= character_coverage * total:
            return number
    return len(counts)


def _too_small(characters: Counter[str], vocab_size: int, smallest: int, symbols: int) -> UserError:
    """Return the error for a vocabulary that is too small, with the alternative of covering fewer characters."""
    if smallest == _FIXED + symbols + 1:
        return UserError(
            f"data.vocab_size = {vocab_size} is too small: bytes alone require {smallest}. Give at least that number."
        )
    for coverage in _COVERAGES:
        if _FIXED + symbols + covered_characters(characters, coverage) <= vocab_size:
            return UserError(
                f"data.vocab_size = {vocab_size} is too small: bytes and the characters of this text alone require "
                f"{smallest}. Give at least that number, or encode rare characters as bytes: --set "
                f"data.character_coverage={coverage}."
            )
    return UserError(
        f"data.vocab_size = {vocab_size} is too small: bytes and the characters of this text alone require {smallest}. "
        "Give at least that number."
    )


def _learn(
    text: TextCounts, vocab_size: int, subwords: str, character_coverage: float, symbols: Sequence[str]
) -> Tokenizer:
    model = io.BytesIO()
    train = partial(
        sentencepiece.SentencePieceTrainer.train,
        sentence_iterator=text.lines(),
        input_format="tsv" if text.is_weighted else "text",
        model_writer=model,
        vocab_size=vocab_size,
        model_type=subwords,
        character_coverage=character_coverage,
        byte_fallback=True,
        user_defined_symbols=list(symbols),
        split_digits=True,
        normalization_rule_name="identity",
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        max_sentence_length=LONGEST_SENTENCE,
        num_threads=2,
        minloglevel=2,
    )
    run_interruptibly(train)
    return Tokenizer(model.getvalue())
