"""Search that is told how to begin, and search that tells what it says: both put something before the model.

Search asks a model for two methods (`search.Model`), so what stands between the two needs no change in either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from allyouneed.config import SearchConfig
from allyouneed.data.batches import pad
from allyouneed.data.tokenizer import EOS, UNK
from allyouneed.errors import UserError
from allyouneed.translation.search import Cache, Hypothesis, Model, beam_search, greedy
from allyouneed.translation.translator import Translator


class Prefixed:
    """A model whose every output begins with given ids: at those steps nothing else is possible, at no cost."""

    def __init__(self, model: Model, prefix: Sequence[int]):
        self._model, self._prefix, self._step = model, prefix, 0

    def start(self, source_ids: Tensor) -> Cache:
        self._step = 0
        return self._model.start(source_ids)

    def decode_step(self, tokens: Tensor, cache: Cache) -> Tensor:
        logits = self._model.decode_step(tokens, cache)
        if self._step < len(self._prefix):
            only = torch.full_like(logits, -torch.inf)
            only[:, self._prefix[self._step]] = 0.0
            logits = only
        self._step += 1
        return logits


class Watched:
    """A model of one sentence's greedy search that tells `say` all ids said so far, each time there is one more."""

    def __init__(self, model: Model, say: Callable[[list[int]], None]):
        self._model, self._say = model, say
        self._said: list[int] | None = None

    def start(self, source_ids: Tensor) -> Cache:
        return self._model.start(source_ids)

    def decode_step(self, tokens: Tensor, cache: Cache) -> Tensor:
        if self._said is None:  # the first token is the start of the sentence
            self._said = []
        else:
            self._said.append(int(tokens[0]))
            self._say(self._said)
        return self._model.decode_step(tokens, cache)


def translate_with_prefix(
    translator: Translator, text: str, prefix: str, search: SearchConfig, num_hypotheses: int = 1
) -> list[tuple[str, float]]:
    """Translations of one sentence that begin with `prefix`, and their scores, best first; the prefix costs nothing.

    Errors: `UserError` when the sentence is longer than the model was trained for, or the prefix cannot be said.
    """
    ids, longest = _encoded(translator, text, search)
    begin = translator.tokenizer.target.encode(prefix.strip())
    if UNK in begin:
        raise UserError("the prefix has characters that this model cannot write. Leave them out.")
    model = Prefixed(translator.model, begin)
    longest += len(begin)
    if search.beam_size == 1:
        found = greedy(model, ids, [longest], search.length_penalty)
    else:
        [found] = beam_search(model, ids, [longest], search.beam_size, search.length_penalty, num_hypotheses)
    return [(translator.tokenizer.target.decode(hypothesis.ids), hypothesis.score) for hypothesis in found]


def translate_aloud(
    translator: Translator, text: str, say: Callable[[str], None], search: SearchConfig
) -> tuple[str, float]:
    """Greedy translation of one sentence and its score; `say` is told the text so far after each whole word.

    What `say` raises ends the search. Errors: `UserError` when the sentence is longer than the model was trained for.
    """
    ids, longest = _encoded(translator, text, search)
    words = 1

    def tell(said: list[int]) -> None:
        nonlocal words
        begun = sum(piece.startswith("▁") for piece in translator.tokenizer.target.pieces(said[1:])) + 1
        if begun > words:  # the last word has only begun
            words = begun
            say(translator.tokenizer.target.decode(said[:-1]))

    found: Hypothesis
    [found] = greedy(Watched(translator.model, tell), ids, [longest], search.length_penalty)
    return translator.tokenizer.target.decode(found.ids), found.score


def _encoded(translator: Translator, text: str, search: SearchConfig) -> tuple[Tensor, int]:
    ids = translator.tokenizer.encode(text.strip())
    if len(ids) >= translator.longest_source:
        raise UserError(
            f"the sentence has {len(ids)} subwords; this model takes {translator.longest_source - 1}. Shorten it."
        )
    return pad([[*ids, EOS]]).to(translator.device), len(ids) + search.max_extra_length
