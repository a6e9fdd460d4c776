"""Streaming greedy decoding: reports a sentence's translation word by word as it is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.repetition import repeats_itself
from allyouneed.translation.search import LengthPenalty, Model, SearchCache, greedy
from allyouneed.translation.translator import Translator

_CHECK_EVERY = 8  # tokens between checks for repetition


class StreamedTranslation(NamedTuple):
    """The result of a streamed translation.

    Attributes:
        text: The translation.
        score: Its score.
        problems: See `Translation`.
    """

    text: str
    score: float
    problems: tuple[str, ...] = ()


class _RepetitionFound(Exception):
    """Stops the search of a translation that repeats itself."""


class StreamingModel:
    """A model for greedy search of one sentence that passes the ids generated so far to `on_token`."""

    def __init__(self, model: Model, on_token: Callable[[list[int]], None]):
        self._model, self._on_token = model, on_token
        self._generated: list[int] | None = None

    def start(self, source_ids: Tensor) -> SearchCache:
        return self._model.start(source_ids)

    def decode_step(self, tokens: Tensor, cache: SearchCache) -> Tensor:
        if self._generated is None:  # the first token is the start of sentence
            self._generated = []
        else:
            self._generated.append(int(tokens[0]))
            self._on_token(self._generated)
        return self._model.decode_step(tokens, cache)


def stream_translation(
    translator: Translator, text: str, on_text: Callable[[str], None], options: SearchOptions | None = None
) -> StreamedTranslation:
    """Translate one sentence greedily, and report the text as it grows.

    If the model repeats itself, the search is stopped, and the result is that of `Translator.translate`.

    Args:
        translator: The translator.
        text: The sentence.
        on_text: Called with the translation so far after each complete word. Its exceptions stop the search.
        options: Search options; only length_penalty, length_offset, max_decoding_length, max_extra_length and
            repetition_guard are used; None means the bundle's settings.

    Raises:
        UserError: If the sentence is longer than the model allows.
    """
    ids = translator.tokenizer.encode(text.strip())
    if len(ids) >= translator.longest_source:
        raise UserError(
            f"the sentence has {len(ids)} tokens; this model takes {translator.longest_source - 1}. Shorten it."
        )
    resolved = (options or SearchOptions()).resolve(translator.bundle.config.search)
    source_ids = pad([[*ids, EOS]]).to(translator.device)
    max_length = resolved.longest_output(len(ids), translator.positions)
    tokenizer, words = translator.tokenizer.target, 1

    def check(generated: list[int]) -> None:
        if resolved.repetition_guard and repeats_itself(generated, ids):
            raise _RepetitionFound

    def on_token(generated: list[int]) -> None:
        nonlocal words
        if len(generated) % _CHECK_EVERY == 0:
            check(generated)
        begun = sum(piece.startswith("▁") for piece in tokenizer.pieces(generated[1:])) + 1
        if begun > words:  # the last token begins a new word, so the words before it are complete
            words = begun
            on_text(tokenizer.decode(generated[:-1]))

    model = StreamingModel(translator.engine, on_token)
    try:
        [found] = greedy(model, source_ids, [max_length], LengthPenalty.of(resolved))
        check(found.ids)
    except _RepetitionFound:
        used = ("length_penalty", "length_offset", "max_decoding_length", "max_extra_length")
        limits = {name: getattr(resolved, name) for name in used}
        again = translator.translate(text, SearchOptions(beam_size=1).replace(limits))
        return StreamedTranslation(again.text, again.score, again.problems)
    return StreamedTranslation(tokenizer.decode(found.ids), found.score)
