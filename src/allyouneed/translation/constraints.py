"""Constraints on the next token, applied to the logits of each step.

The option names are those of CTranslate2. Constrained search is slower: it needs the logits of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.sampling import sample
from allyouneed.translation.search import NEVER_GENERATED, TopTokens, top_tokens

_LOWEST_LOGIT = -1e4  # minimum logit of a prefix token, in case another constraint forbids it


@dataclass(frozen=True)
class Constraints:
    """Constraints of a request, in token ids.

    Attributes:
        options: Search options: minimum length, n-grams, repetition penalty and sampling.
        suppressed: Token sequences that must never be generated.
        prefixes: For each sentence, the tokens that its translation begins with; empty if no sentence has any.
        numbers: Indices of the batch's sentences in the request, which make sampling independent of batching.
    """

    options: SearchOptions
    suppressed: Sequence[Sequence[int]] = ()
    prefixes: Sequence[Sequence[int]] = ()
    numbers: Sequence[int] = ()

    def __bool__(self) -> bool:
        """Return whether any constraint or sampling is active."""
        options = self.options
        return bool(
            self.suppressed
            or self.prefixes
            or options.samples
            or options.min_decoding_length
            or options.no_repeat_ngram_size
            or options.repetition_penalty != 1
        )

    def for_batch(self, batch: np.ndarray) -> Constraints:
        """Select the sentences with these indices."""
        prefixes = [self.prefixes[i] for i in batch] if self.prefixes else ()
        return replace(self, prefixes=prefixes, numbers=batch.tolist())

    def min_lengths(self, sentences: int) -> np.ndarray:
        """Return the minimum number of output tokens of each sentence, the end not counted, [sentences]."""
        lengths = [len(prefix) for prefix in self.prefixes] or [0] * sentences
        return np.maximum(lengths, self.options.min_decoding_length)

    def choose(self, logits: Tensor, generated: np.ndarray, sentences: np.ndarray, count: int) -> TopTokens:
        """Constrain the logits, then choose or sample the next tokens, see `search.choose`."""
        self.apply(logits, generated, sentences)
        if self.options.samples:
            return sample(logits, self.options, [self.numbers[i] for i in sentences], generated.shape[1])
        return top_tokens(logits, count)

    def apply(self, logits: Tensor, generated: np.ndarray, sentences: np.ndarray) -> None:
        """Constrain logits in place.

        Args:
            logits: Logits of the next token, [rows, vocabulary].
            generated: Token ids so far, beginning with the start of sentence, [rows, length].
            sentences: Each row's sentence in the batch, [rows].
        """
        logits[:, NEVER_GENERATED] = -torch.inf
        if generated.shape[1] - 1 < self.options.min_decoding_length:
            logits[:, EOS] = -torch.inf
        for row, (ids, sentence) in enumerate(zip(generated[:, 1:].tolist(), sentences.tolist(), strict=True)):
            self._apply_to_row(logits[row], ids, sentence)

    def _apply_to_row(self, logits: Tensor, generated: list[int], sentence: int) -> None:
        """Constrain one row's logits [vocabulary] in place."""
        penalty = self.options.repetition_penalty
        if penalty != 1 and generated:
            tokens = torch.tensor(sorted(set(generated)), device=logits.device)
            values = logits[tokens]
            logits[tokens] = torch.where(values > 0, values / penalty, values * penalty)
        forbidden = self._forbidden(generated)
        if forbidden:
            logits[sorted(forbidden)] = -torch.inf
        prefix = self.prefixes[sentence] if self.prefixes else ()
        if len(generated) < len(prefix):
            token = prefix[len(generated)]
            value = max(float(logits[token]), _LOWEST_LOGIT)  # a prefix takes precedence over other constraints
            logits[:] = -torch.inf
            logits[token] = value

    def _forbidden(self, generated: list[int]) -> set[int]:
        """Return the tokens that would complete a suppressed sequence or repeat an n-gram."""
        count, n = len(generated), self.options.no_repeat_ngram_size
        tokens = {ids[-1] for ids in self.suppressed if generated[count - len(ids) + 1 :] == list(ids[:-1])}
        if n and count >= n - 1:
            last = generated[count - n + 1 :]
            tokens |= {generated[i + n - 1] for i in range(count - n + 1) if generated[i : i + n - 1] == last}
        return tokens
