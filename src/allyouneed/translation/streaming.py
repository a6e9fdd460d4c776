"""Search that tells what it says, word by word.

Search asks a model for two methods (`search.Model`), so what stands between the two needs no change in either.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from allyouneed.config import SearchConfig
from allyouneed.data.batches import pad
from allyouneed.data.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.translation.search import Cache, Model, greedy
from allyouneed.translation.translator import Translator


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


def translate_aloud(
    translator: Translator, text: str, say: Callable[[str], None], search: SearchConfig
) -> tuple[str, float]:
    """Greedy translation of one sentence and its score; `say` is told the text so far after each whole word.

    What `say` raises ends the search. Errors: `UserError` when the sentence is longer than the model was trained for.
    """
    ids = translator.tokenizer.encode(text.strip())
    if len(ids) >= translator.longest_source:
        raise UserError(
            f"the sentence has {len(ids)} subwords; this model takes {translator.longest_source - 1}. Shorten it."
        )
    source_ids, longest = pad([[*ids, EOS]]).to(translator.device), len(ids) + search.max_extra_length
    words = 1

    def tell(said: list[int]) -> None:
        nonlocal words
        begun = sum(piece.startswith("▁") for piece in translator.tokenizer.target.pieces(said[1:])) + 1
        if begun > words:  # the last word has only begun
            words = begun
            say(translator.tokenizer.target.decode(said[:-1]))

    [found] = greedy(Watched(translator.engine, tell), source_ids, [longest], search.length_penalty)
    return translator.tokenizer.target.decode(found.ids), found.score
