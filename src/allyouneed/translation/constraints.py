"""What a translation must and must not be: rules on the next word, laid on the logits of each step.

Names are CTranslate2's. With rules the whole vocabulary's logits are needed, so a search with them is slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokenizer import EOS
from allyouneed.translation.sampling import Sampling, sampled
from allyouneed.translation.search import NEVER_SAID, Choice, best_of


@dataclass(frozen=True)
class Rules:
    """min_decoding_length: subwords before the end may come; no_repeat_ngram_size: no n subwords twice (0: no rule);
    suppress_sequences: subwords that never follow each other so; target_prefix: of each sentence, what its translation
    begins with; repetition_penalty: by which logits of words already said are divided (negative ones multiplied)."""

    min_decoding_length: int = 0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    suppress_sequences: Sequence[Sequence[int]] = ()
    target_prefix: Sequence[Sequence[int]] = ()
    sampling: Sampling | None = None
    numbers: Sequence[int] = ()  # of the sentences of a batch among all: what is drawn does not depend on the batch

    def of(self, batch: np.ndarray) -> Rules:
        """The rules of these sentences."""
        prefixes = [self.target_prefix[i] for i in batch] if self.target_prefix else ()
        return replace(self, target_prefix=prefixes, numbers=batch.tolist())

    def shortest(self, sentences: int) -> np.ndarray:
        """Subwords that each of so many sentences has at least, the end not counted."""
        given = [len(prefix) for prefix in self.target_prefix] or [0] * sentences
        return np.maximum(given, self.min_decoding_length)

    def choose(self, logits: Tensor, said: np.ndarray, sentences: np.ndarray, count: int) -> Choice:
        """As `search.choose`, of logits on which the rules are laid."""
        self.lay(logits, said, sentences)
        if self.sampling is not None:
            return sampled(logits, self.sampling, [self.numbers[i] for i in sentences], said.shape[1])
        return best_of(logits, count)

    def lay(self, logits: Tensor, said: np.ndarray, sentences: np.ndarray) -> None:
        """logits [rows, vocabulary], in place, said [rows, length] with the start, sentences [rows]: their numbers."""
        logits[:, NEVER_SAID] = -torch.inf
        if said.shape[1] - 1 < self.min_decoding_length:
            logits[:, EOS] = -torch.inf
        for row, (line, sentence) in enumerate(zip(said[:, 1:].tolist(), sentences.tolist(), strict=True)):
            self._lay_on_one(logits[row], line, sentence)

    def _lay_on_one(self, logits: Tensor, said: list[int], sentence: int) -> None:
        """Of one row [vocabulary]."""
        if self.repetition_penalty != 1 and said:
            words = torch.tensor(sorted(set(said)), device=logits.device)
            values = logits[words]
            logits[words] = torch.where(values > 0, values / self.repetition_penalty, values * self.repetition_penalty)
        forbidden = {ids[-1] for ids in self.suppress_sequences if said[len(said) - len(ids) + 1 :] == list(ids[:-1])}
        n = self.no_repeat_ngram_size
        if n and len(said) >= n - 1:
            last = said[len(said) - n + 1 :]
            forbidden |= {said[i + n - 1] for i in range(len(said) - n + 1) if said[i : i + n - 1] == last}
        if forbidden:
            logits[sorted(forbidden)] = -torch.inf
        prefix = self.target_prefix[sentence] if self.target_prefix else ()
        if len(said) < len(prefix):
            wanted = prefix[len(said)]
            value = max(float(logits[wanted]), -1e4)  # said whatever else forbids it
            logits[:] = -torch.inf
            logits[wanted] = value
