"""Words and phrases that a translation must contain: beam search with dynamic beam allocation (Post and Vilar 2018).

Each hypothesis counts the forced tokens that it has generated. Besides the most likely continuations, every hypothesis
is continued with each token that begins or continues a phrase. The beam is divided among hypotheses with 0, 1, 2, ...
forced tokens, so that hypotheses with more of them, which are less likely, are not displaced by those with fewer. A
hypothesis may end only when it contains all phrases. If that is impossible, for example because a forced token is
suppressed, it ends without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.translation.beam_search import BeamSearch, Candidates
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.search import NEVER_GENERATED, Hypothesis, LengthPenalty, Model

Phrases = Sequence[Sequence[int]]


@torch.inference_mode()
def forced_beam_search(
    model: Model,
    source_ids: Tensor,
    max_lengths: Sequence[int],
    beam_size: int,
    penalty: LengthPenalty,
    force_words: Sequence[Phrases],
    num_hypotheses: int = 1,
    constraints: Constraints | None = None,
) -> list[list[Hypothesis]]:
    """Search for translations that contain `force_words`: for each sentence, a list of phrases (token ids).

    The other arguments and the result are those of `beam_search`.
    """
    search = ForcedBeamSearch(
        model, source_ids, max_lengths, beam_size, penalty, force_words, num_hypotheses, constraints
    )
    return search.run()


class PhraseProgress(NamedTuple):
    """Progress of a hypothesis in generating its forced phrases.

    Attributes:
        complete: Indices of the phrases that are complete.
        current: Index of the phrase that is being generated, or None.
        position: Number of tokens of the current phrase that are generated.
    """

    complete: frozenset[int] = frozenset()
    current: int | None = None
    position: int = 0

    def count(self, phrases: Phrases) -> int:
        """Count the forced tokens generated."""
        return sum(len(phrases[i]) for i in self.complete) + self.position

    def next_tokens(self, phrases: Phrases) -> set[int]:
        """Return the tokens that would begin or continue a forced phrase."""
        if self.current is not None:
            return {phrases[self.current][self.position]}
        return {phrase[0] for i, phrase in enumerate(phrases) if i not in self.complete}

    def after(self, token: int, phrases: Phrases) -> PhraseProgress:
        """Return the progress after one more token. An interrupted phrase counts as not generated."""
        current, position = self.current, self.position
        if current is None or phrases[current][position] != token:
            begun = (i for i, phrase in enumerate(phrases) if i not in self.complete and phrase[0] == token)
            current, position = next(begun, None), 0
        if current is None:
            return PhraseProgress(self.complete)
        if position + 1 == len(phrases[current]):
            return PhraseProgress(self.complete | {current})
        return PhraseProgress(self.complete, current, position + 1)


class _Candidate(NamedTuple):
    score: float
    parent: int
    token: int
    progress: PhraseProgress
    forced: int  # number of forced tokens generated


class ForcedBeamSearch(BeamSearch):
    """Beam search with dynamic beam allocation.

    Attributes:
        progress: `PhraseProgress` of each hypothesis, [sentences, beam].
    """

    per_sentence = (*BeamSearch.per_sentence, "progress")
    constraints: Constraints | None

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        max_lengths: Sequence[int],
        beam_size: int,
        penalty: LengthPenalty,
        force_words: Sequence[Phrases],
        num_hypotheses: int,
        constraints: Constraints | None = None,
    ):
        self.phrases = [[phrase for phrase in phrases if len(phrase)] for phrases in force_words]
        needed = [sum(map(len, phrases)) for phrases in self.phrases]
        limits = np.maximum(max_lengths, needed)
        super().__init__(model, source_ids, limits, beam_size, penalty, num_hypotheses, constraints)
        self.progress = np.empty((len(source_ids), 1), dtype=object)
        for row in range(len(source_ids)):  # one by one, since NumPy would unpack the tuple
            self.progress[row, 0] = PhraseProgress()

    def candidates(self, length: int) -> Candidates:
        """Find the ending candidates, then the continuing ones, which share the beam; padding has score -inf."""
        log_p = self._log_p()
        kept = [self._of_sentence(row, log_p[row], length) for row in range(len(log_p))]
        shape = len(kept), 2 * self.beam
        scores, parents, tokens = np.full(shape, -np.inf), np.zeros(shape, dtype=np.int64), np.full(shape, EOS)
        for row, candidates in enumerate(kept):
            for column, candidate in enumerate(candidates):
                scores[row, column], parents[row, column], tokens[row, column] = candidate[:3]
        return Candidates(scores, parents, tokens, log_p[np.arange(len(kept))[:, None], parents, tokens])

    def _log_p(self) -> np.ndarray:
        """Compute the log probability of every next token of each hypothesis, [sentences, beam, vocabulary]."""
        (count, beam), generated = self.scores.shape, self.generated.reshape(self.scores.size, -1)
        last = torch.from_numpy(generated[:, -1].copy()).to(self.device)
        logits = self.model.decode_step(last, self.cache).float()
        if self.constraints is None:
            logits[:, NEVER_GENERATED] = -torch.inf
        else:
            self.constraints.apply(logits, generated, np.repeat(self.sentences, beam))
        return logits.log_softmax(dim=-1).cpu().numpy().astype(np.float64).reshape(count, beam, -1)

    def _of_sentence(self, row: int, log_p: np.ndarray, length: int) -> list[_Candidate]:
        sentence, totals = self.sentences[row], self.scores[row][:, None] + log_p
        phrases, at_limit = self.phrases[sentence], length > self.max_lengths[row]
        needed = sum(map(len, phrases))
        tried = (self._candidate(row, *pair, totals, phrases) for pair in self._pairs(row, totals, phrases))
        found = sorted((one for one in tried if one.score > -np.inf), key=lambda one: -one.score)
        complete = [one for one in found if one.forced == needed]
        ending = [one for one in complete[: self.beam] if one.token == EOS]
        if at_limit:
            incomplete = not ending and not self.finished[sentence]  # an incomplete translation is better than none
            return [one for one in found if one.token == EOS][: self.beam] if incomplete else ending
        return ending + _allocate([one for one in found if one.token != EOS], needed, self.beam)

    def _candidate(self, row: int, parent: int, token: int, totals: np.ndarray, phrases: Phrases) -> _Candidate:
        before = self.progress[row, parent]
        progress = before if token == EOS else before.after(token, phrases)
        return _Candidate(totals[parent, token], parent, token, progress, progress.count(phrases))

    def _pairs(self, row: int, totals: np.ndarray, phrases: Phrases) -> Iterator[tuple[int, int]]:
        """Yield (hypothesis, token): the best overall, and for each hypothesis its best, end and forced tokens."""
        width, count = totals.shape[1], min(2 * self.beam, totals.size)
        pairs = {divmod(int(index), width) for index in np.argpartition(-totals.ravel(), count - 1)[:count]}
        for parent, best in enumerate(totals.argmax(axis=1).tolist()):
            advancing = self.progress[row, parent].next_tokens(phrases)
            pairs |= {(parent, token) for token in (best, EOS, *advancing)}
        yield from sorted(pairs)

    def advance(self, candidates: Candidates) -> np.ndarray:
        before, sentences = self.progress, self.sentences
        parents = super().advance(candidates)
        self.progress = np.empty(parents.shape, dtype=object)
        for row, column in np.ndindex(parents.shape):
            progress, token = before[row, parents[row, column]], int(self.generated[row, column, -1])
            if token != EOS:
                progress = progress.after(token, self.phrases[sentences[row]])
            self.progress[row, column] = progress
        return parents


def _allocate(candidates: list[_Candidate], needed: int, beam: int) -> list[_Candidate]:
    """Choose at most `beam` of the candidates, which are sorted best first.

    The best candidate among those with the most forced tokens is always chosen. Each number of forced tokens has an
    equal share of the beam; unused slots go to the best remaining candidates.
    """
    most = max((one.forced for one in candidates), default=0)
    chosen = [one for one in candidates if one.forced == most][:1]
    free = dict.fromkeys(range(needed + 1), beam // (needed + 1))
    free[needed] += beam % (needed + 1)
    others = []
    for one in candidates:
        if one in chosen:
            free[one.forced] -= 1
        elif free[one.forced] > 0:
            free[one.forced] -= 1
            chosen.append(one)
        else:
            others.append(one)
    return sorted((chosen + others)[:beam], key=lambda one: -one.score)
