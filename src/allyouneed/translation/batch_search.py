"""Search in batches: greedy, beam, diverse or forced beam search, as the options require."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.batches import pad, token_batches
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.coverage import add_coverage_penalty, coverage_beam_search
from allyouneed.translation.diverse import diverse_beam_search
from allyouneed.translation.forced import Phrases, forced_beam_search
from allyouneed.translation.minimum_bayes_risk import by_expected_bleu
from allyouneed.translation.options import ResolvedOptions
from allyouneed.translation.search import Hypothesis, LengthPenalty, Model, greedy
from allyouneed.translation.workers import map_in_order

_MIN_BATCHES, _MIN_TOKENS = 8, 512  # minimum batches per worker, and minimum source tokens per batch
_WIDE, _MIN_ROWS = 256, 48  # a step of a model this wide reads its weights from memory: rows that share a reading


@dataclass(frozen=True)
class BatchSearch:
    """A request's options and constraints, shared by all its batches.

    Attributes:
        options: Search options with the bundle's settings filled in.
        constraints: Constraints on tokens; None selects the faster unconstrained path.
        force_words: For each sentence, the phrases (token ids) that it must contain; empty if no sentence has any.
        positions: Number of the decoder's learned positions; None if there is no limit.

    Raises:
        UserError: If `force_words` is combined with beam groups or sampling.
    """

    options: ResolvedOptions
    constraints: Constraints | None = None
    force_words: Sequence[Phrases] = ()
    positions: int | None = None

    def __post_init__(self) -> None:
        if self.force_words and (self.options.num_beam_groups > 1 or self.options.samples):
            raise UserError("force_words (--force): cannot be combined with num_beam_groups or sampling; remove one.")

    def without_repeats(self, sentences: Sequence[int], size: int) -> BatchSearch:
        """Return the search of some sentences with repeated n-grams forbidden.

        Args:
            sentences: Their indices.
            size: Size of the n-grams.
        """
        constraints = self.constraints or Constraints(self.options)
        options = self.options.model_copy(update={"no_repeat_ngram_size": size})
        prefixes = [constraints.prefixes[i] for i in sentences] if constraints.prefixes else ()
        force_words = [self.force_words[i] for i in sentences] if self.force_words else ()
        constraints = replace(constraints, options=options, prefixes=prefixes)
        return BatchSearch(options, constraints, force_words, self.positions)

    def run_all(
        self,
        model: Transformer,
        engine: Callable[[int], Model],
        sentences: list[list[int]],
        device: torch.device,
        workers: int,
    ) -> list[list[Hypothesis]]:
        """Search all sentences in batches of similar length, longest first.

        Args:
            model: The model, which computes the coverage penalty.
            engine: Returns `model` or its compiled engine for a batch with this number of source tokens.
            sentences: Token ids of each sentence with the end of sentence.
            device: Device of the model.
            workers: Number of batches that are searched in parallel.

        Returns:
            The hypotheses of each sentence, best first.

        Raises:
            UserError: If the model's scores are not finite, so that a search finds nothing.
        """
        lengths = np.array([len(ids) for ids in sentences], dtype=np.int64)
        options = self.options
        batch_tokens = self._batch_tokens(lengths, workers, model.config.d_model >= _WIDE)
        batches = token_batches(lengths, lengths, batch_tokens)[::-1]

        def search(batch: np.ndarray) -> list[list[Hypothesis]]:
            source, tokens = pad([sentences[i] for i in batch]).to(device), int(lengths[batch].sum())
            return self.run(engine(tokens), source, lengths[batch], batch)

        results: list[list[Hypothesis]] = [[]] * len(sentences)
        for batch, found in zip(batches, map_in_order(search, batches, workers), strict=True):
            if not all(found):
                raise UserError(
                    "the model finds no translation, since its scores are not finite. Its weights are damaged, or "
                    "their values are too large: get the model again."
                )
            if options.coverage_penalty:  # not in a worker, since PyTorch uses all cores
                found = add_coverage_penalty(model, [sentences[i] for i in batch], found, options.coverage_penalty)
            if options.minimum_bayes_risk:
                found = [by_expected_bleu(hypotheses, LengthPenalty.of(options)) for hypotheses in found]
            for i, hypotheses in zip(batch, found, strict=True):
                results[i] = hypotheses[: options.num_hypotheses]
        return results

    def _batch_tokens(self, lengths: np.ndarray, workers: int, is_wide: bool) -> int:
        """Return the source tokens of a batch.

        With several workers, there are enough batches to keep all of them busy until the end, in a multiple of their
        number if there are few.
        """
        options, total = self.options, int(lengths.sum())
        most = max(1, options.batch_tokens // options.beam_size)
        if workers == 1 or not total:
            return most
        rows_needed = -(-_MIN_ROWS // options.beam_size) * total // len(lengths) if is_wide else 0
        batch_tokens = min(most, max(_MIN_TOKENS, rows_needed, total // (_MIN_BATCHES * workers)))
        batches = -(-total // batch_tokens)
        if batches < _MIN_BATCHES * workers:
            batches = -(-batches // workers) * workers
            batch_tokens = min(most, -(-total // batches) + int(lengths.max()) - 1)  # a whole number of sentences
        return batch_tokens

    def run(self, model: Model, source: Tensor, lengths: np.ndarray, batch: np.ndarray) -> list[list[Hypothesis]]:
        """Search the sentences of a batch.

        Args:
            model: The model or its compiled engine.
            source: Token ids with the end of sentence, [sentences, source].
            lengths: Number of source tokens of each sentence, the end of sentence included.
            batch: Indices of the batch's sentences in the whole request.
        """
        options = self.options
        limits = np.array([options.longest_output(length - 1, self.positions) for length in lengths.tolist()])
        constraints = self.constraints and self.constraints.for_batch(batch)
        if constraints:  # a prefix or minimum length takes precedence over the maximum
            limits = np.maximum(limits, constraints.min_lengths(len(batch)))
        beam, penalty = options.beam_size, LengthPenalty.of(options)
        task = (model, source, limits.tolist())
        reorders = options.coverage_penalty or options.minimum_bayes_risk
        count = beam if reorders else options.num_hypotheses
        if self.force_words:
            return forced_beam_search(*task, beam, penalty, [self.force_words[i] for i in batch], count, constraints)
        if beam == 1:
            return [[best] for best in greedy(*task, penalty, options.return_scores, constraints, options.drafts)]
        if options.num_beam_groups > 1:
            groups = (options.num_beam_groups, options.diversity_penalty)
            return diverse_beam_search(*task, beam, penalty, *groups, count, constraints)
        if options.coverage_penalty:
            return coverage_beam_search(*task, beam, penalty, constraints)
        return beam_search(*task, beam, penalty, count, constraints)
