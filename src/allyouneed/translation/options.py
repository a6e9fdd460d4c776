"""What a call of `translate` asks of search, checked, and which search that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from allyouneed.config import SearchConfig
from allyouneed.errors import UserError
from allyouneed.translation.constraints import Rules
from allyouneed.translation.diverse import diverse_beam_search
from allyouneed.translation.forced import Phrases, forced_beam_search
from allyouneed.translation.search import Hypothesis, Model, beam_search, greedy


@dataclass(frozen=True)
class Wanted:
    """Names are `Translator.translate`'s. force_words: of each sentence, its phrases in subwords; empty: of none."""

    search: SearchConfig
    num_hypotheses: int = 1
    return_scores: bool = True
    max_decoding_length: int | None = None
    rules: Rules | None = None
    num_beam_groups: int = 1
    diversity_penalty: float = 0.5
    force_words: Sequence[Phrases] = ()
    coverage_penalty: float = 0.0

    def refuse_impossible(self) -> None:
        """Errors: `UserError`, with what may be chosen instead."""
        beam, rules = self.search.beam_size, self.rules or Rules()
        sampling, least, penalty = rules.sampling, rules.min_decoding_length, rules.repetition_penalty
        if not 1 <= self.num_hypotheses <= beam:
            raise UserError(f"num_hypotheses (--nbest) = {self.num_hypotheses}: choose 1 to beam_size = {beam}.")
        if sampling is not None:
            sampling.refuse_impossible()
        if not 0 < penalty < np.inf:
            raise UserError(f"repetition_penalty = {penalty:g}: choose a number above 0; 1 is none.")
        if sampling is not None and beam != 1:
            raise UserError(f"sampling with beam_size = {beam}: words are drawn one by one; set it to 1.")
        if self.max_decoding_length is not None and self.max_decoding_length < max(1, least):
            raise UserError(
                f"max_decoding_length = {self.max_decoding_length}: choose at least 1, and no less than "
                f"min_decoding_length = {least}."
            )
        if not 1 <= self.num_beam_groups <= beam or beam % self.num_beam_groups:
            raise UserError(f"num_beam_groups = {self.num_beam_groups}: choose a divisor of beam_size = {beam}.")
        numbers = {name: getattr(self, name) for name in ("diversity_penalty", "coverage_penalty")}
        numbers |= {"min_decoding_length": least, "no_repeat_ngram_size": rules.no_repeat_ngram_size}
        for name, number in numbers.items():
            if not 0 <= number < np.inf:
                raise UserError(f"{name} = {number:g}: choose a number from 0, which is none.")
        if self.force_words and (self.num_beam_groups > 1 or sampling is not None):
            raise UserError("force_words (--force): not together with num_beam_groups or sampling; leave one out.")

    def found(self, model: Model, source: Tensor, lengths: np.ndarray, batch: np.ndarray) -> list[list[Hypothesis]]:
        """Hypotheses of the sentences with these numbers. source [sentences, longest], lengths: with the end."""
        longest = lengths - 1 + self.search.max_extra_length
        if self.max_decoding_length is not None:
            longest = np.minimum(longest, self.max_decoding_length)
        rules = self.rules and self.rules.of(batch)
        if rules:  # what has to be said is said, however long
            longest = np.maximum(longest, rules.shortest(len(batch)))
        beam, alpha = self.search.beam_size, self.search.length_penalty
        given = (model, source, longest.tolist())
        count = beam if self.coverage_penalty else self.num_hypotheses  # all, where another order comes after
        if self.force_words:
            return forced_beam_search(*given, beam, alpha, [self.force_words[i] for i in batch], count, rules)
        if beam == 1:
            return [[best] for best in greedy(*given, alpha, self.return_scores, rules)]
        if self.num_beam_groups > 1:
            groups = (self.num_beam_groups, self.diversity_penalty)
            return diverse_beam_search(*given, beam, alpha, *groups, count, rules)
        return beam_search(*given, beam, alpha, count, rules)
