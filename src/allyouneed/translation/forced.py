"""Words and phrases that a translation must contain: beam search with dynamic beam allocation (Post and Vilar 2018).

Each hypothesis knows how many forced subwords it has said. Beside the likeliest continuations every hypothesis is tried
with each subword that would take it further, and the beam is shared out among hypotheses that have said 0, 1, 2 ... of
them, so that those which have said more, and are less likely for it, are not crowded out by those which have said none.
A hypothesis may end only when all is said. Where that cannot be (a suppressed word is forced, say), it ends without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokenizer import EOS
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.search import NEVER_SAID, BeamSearch, Candidates, Hypothesis, Model

Phrases = Sequence[Sequence[int]]


@torch.inference_mode()
def forced_beam_search(
    model: Model,
    source_ids: Tensor,
    longest: Sequence[int],
    beam_size: int,
    alpha: float,
    force_words: Sequence[Phrases],
    num_hypotheses: int = 1,
    constraints: Constraints | None = None,
) -> list[list[Hypothesis]]:
    """As `search.beam_search`; force_words: of each sentence, the phrases (subwords) that it must contain."""
    return ForcedBeamSearch(
        model, source_ids, longest, beam_size, alpha, force_words, num_hypotheses, constraints
    ).run()


class Said(NamedTuple):
    """Of the phrases: those said whole, the one being said (None: none) and how many subwords of it."""

    whole: frozenset[int] = frozenset()
    current: int | None = None
    part: int = 0

    def count(self, phrases: Phrases) -> int:
        """Forced subwords said."""
        return sum(len(phrases[i]) for i in self.whole) + self.part

    def wanted(self, phrases: Phrases) -> set[int]:
        """Subwords that would take it further."""
        if self.current is not None:
            return {phrases[self.current][self.part]}
        return {phrase[0] for i, phrase in enumerate(phrases) if i not in self.whole}

    def after(self, word: int, phrases: Phrases) -> Said:
        """A phrase that is broken off was not said."""
        current, part = self.current, self.part
        if current is None or phrases[current][part] != word:
            begun = (i for i, phrase in enumerate(phrases) if i not in self.whole and phrase[0] == word)
            current, part = next(begun, None), 0
        if current is None:
            return Said(self.whole)
        if part + 1 == len(phrases[current]):
            return Said(self.whole | {current})
        return Said(self.whole, current, part + 1)


class _Candidate(NamedTuple):
    score: float
    parent: int
    word: int
    said: Said
    done: int  # forced subwords said


class ForcedBeamSearch(BeamSearch):
    """progress [sentences, beam]: `Said` of each hypothesis."""

    of_sentences = (*BeamSearch.of_sentences, "progress")
    constraints: Constraints | None

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        longest: Sequence[int],
        beam_size: int,
        alpha: float,
        force_words: Sequence[Phrases],
        num_hypotheses: int,
        constraints: Constraints | None = None,
    ):
        self.phrases = [[phrase for phrase in phrases if len(phrase)] for phrases in force_words]
        needed = [sum(map(len, phrases)) for phrases in self.phrases]
        super().__init__(model, source_ids, np.maximum(longest, needed), beam_size, alpha, num_hypotheses, constraints)
        self.progress = np.empty((len(source_ids), 1), dtype=object)
        for row in range(len(source_ids)):  # one by one, since NumPy would take a tuple apart
            self.progress[row, 0] = Said()

    def _candidates(self, length: int) -> Candidates:
        """First those that end, then those that go on, the beam shared out; what is left over has no probability."""
        log_p = self._log_p()
        kept = [self._of_sentence(row, log_p[row], length) for row in range(len(log_p))]
        shape = len(kept), 2 * self.beam
        scores, parents, words = np.full(shape, -np.inf), np.zeros(shape, dtype=np.int64), np.full(shape, EOS)
        for row, candidates in enumerate(kept):
            for place, candidate in enumerate(candidates):
                scores[row, place], parents[row, place], words[row, place] = candidate[:3]
        return Candidates(scores, parents, words, log_p[np.arange(len(kept))[:, None], parents, words])

    def _log_p(self) -> np.ndarray:
        """Of every word after each hypothesis [sentences, beam, vocabulary]."""
        (count, beam), said = self.scores.shape, self.said.reshape(self.scores.size, -1)
        logits = self.model.decode_step(torch.from_numpy(said[:, -1].copy()).to(self.device), self.cache).float()
        if self.constraints is None:
            logits[:, NEVER_SAID] = -torch.inf
        else:
            self.constraints.apply(logits, said, np.repeat(self.sentences, beam))
        return logits.log_softmax(dim=-1).cpu().numpy().astype(np.float64).reshape(count, beam, -1)

    def _of_sentence(self, row: int, log_p: np.ndarray, length: int) -> list[_Candidate]:
        sentence, totals = self.sentences[row], self.scores[row][:, None] + log_p
        phrases, at_limit = self.phrases[sentence], length > self.longest[row]
        needed = sum(map(len, phrases))
        tried = (self._candidate(row, *place, totals, phrases) for place in self._tried(row, totals, phrases))
        found = sorted((one for one in tried if one.score > -np.inf), key=lambda one: -one.score)
        complete = [one for one in found if one.done == needed]
        ending = [one for one in complete[: self.beam] if one.word == EOS]
        if at_limit:
            excused = not ending and not self.finished[sentence]  # rather than nothing
            return [one for one in found if one.word == EOS][: self.beam] if excused else ending
        return ending + _shared_out([one for one in found if one.word != EOS], needed, self.beam)

    def _candidate(self, row: int, parent: int, word: int, totals: np.ndarray, phrases: Phrases) -> _Candidate:
        said = self.progress[row, parent]
        after = said if word == EOS else said.after(word, phrases)
        return _Candidate(totals[parent, word], parent, word, after, after.count(phrases))

    def _tried(self, row: int, totals: np.ndarray, phrases: Phrases) -> Iterator[tuple[int, int]]:
        """Hypotheses' places and words: the likeliest of all; of each its likeliest, the end, and what is wanted."""
        width, count = totals.shape[1], min(2 * self.beam, totals.size)
        tried = {divmod(int(place), width) for place in np.argpartition(-totals.ravel(), count - 1)[:count]}
        for parent, best in enumerate(totals.argmax(axis=1).tolist()):
            wanted = self.progress[row, parent].wanted(phrases)
            tried |= {(parent, word) for word in (best, EOS, *wanted)}
        yield from sorted(tried)

    def _go_on(self, scores: np.ndarray, parents: np.ndarray, tokens: np.ndarray, log_p: np.ndarray) -> np.ndarray:
        before, sentences = self.progress, self.sentences
        parents = super()._go_on(scores, parents, tokens, log_p)
        self.progress = np.empty(parents.shape, dtype=object)
        for row, place in np.ndindex(parents.shape):
            said, word = before[row, parents[row, place]], int(self.said[row, place, -1])
            self.progress[row, place] = said if word == EOS else said.after(word, self.phrases[sentences[row]])
        return parents


def _shared_out(candidates: list[_Candidate], needed: int, beam: int) -> list[_Candidate]:
    """At most `beam` of the candidates (best first): the best that has said most, then of each number of forced
    subwords an equal share, and what is left to the best of the others."""
    most = max((one.done for one in candidates), default=0)
    chosen = [one for one in candidates if one.done == most][:1]
    room = dict.fromkeys(range(needed + 1), beam // (needed + 1))
    room[needed] += beam % (needed + 1)
    others = []
    for one in candidates:
        if one in chosen:
            room[one.done] -= 1
        elif room[one.done] > 0:
            room[one.done] -= 1
            chosen.append(one)
        else:
            others.append(one)
    return sorted((chosen + others)[:beam], key=lambda one: -one.score)
