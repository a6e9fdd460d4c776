"""A beam search of one sentence, recorded as a tree of all its candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.translation.beam_search import BeamSearch, Candidates
from allyouneed.translation.search import Hypothesis, LengthPenalty, Model


@dataclass
class Node:
    """A candidate among the best 2 · beam of its step.

    Attributes:
        parent: Index of the preceding node, -1 for the start.
        step: Number of tokens up to this one, from 1.
        token: Token id.
        log_probability: Log probability of all tokens up to this one.
        status: "alive" (kept in the beam), "cut" (pruned) or "ended" (a finished hypothesis).
    """

    parent: int
    step: int
    token: int
    log_probability: float
    status: str


class TracedBeamSearch(BeamSearch):
    """Beam search of one sentence that records its candidates in `nodes`, ordered by step and rank."""

    def __init__(self, model: Model, source_ids: Tensor, max_length: int, beam_size: int, penalty: LengthPenalty):
        super().__init__(model, source_ids, [max_length], beam_size, penalty, num_hypotheses=beam_size)
        self.nodes: list[Node] = []
        self._beam_nodes = [-1] * beam_size  # node of each hypothesis in the beam
        self._new: list[int] = []  # node of each candidate of this step, -1 for none

    def candidates(self, length: int) -> Candidates:
        found = super().candidates(length)
        scores, parents, tokens, _ = (values[0].tolist() for values in found)
        self._new = []
        for rank, (score, parent, token) in enumerate(zip(scores, parents, tokens, strict=True)):
            if score == -np.inf:
                self._new.append(-1)
                continue
            status = "ended" if token == EOS and rank < self.beam else "cut"
            self._new.append(len(self.nodes))
            self.nodes.append(Node(self._beam_nodes[parent], length, token, score, status))
        return found

    def advance(self, candidates: Candidates) -> np.ndarray:
        tokens, kept = candidates.tokens, self.unfinished(candidates.tokens)
        self._beam_nodes = [self._new[rank] for rank in kept[0].tolist()]
        for rank, node in zip(kept[0].tolist(), self._beam_nodes, strict=True):
            if node >= 0 and tokens[0, rank] != EOS:
                self.nodes[node].status = "alive"
        return super().advance(candidates)


@torch.inference_mode()
def traced_search(
    model: Model, source_ids: Tensor, max_length: int, beam_size: int, penalty: LengthPenalty
) -> tuple[list[Hypothesis], list[Node]]:
    """Search one sentence and record the tree.

    Args:
        model: Model to search.
        source_ids: Token ids, shape [1, source].
        max_length: Maximum number of tokens of the translation, without the end token.
        beam_size: Beam size.
        penalty: The length penalty.

    Returns:
        Hypotheses, at most `beam_size`, best first, and the nodes of the tree.
    """
    search = TracedBeamSearch(model, source_ids, max_length, beam_size, penalty)
    [hypotheses] = search.run()
    return hypotheses, search.nodes


def path_of(nodes: list[Node], index: int) -> list[int]:
    """List the indices of the nodes from the first step to this node."""
    path = []
    while index >= 0:
        path.append(index)
        index = nodes[index].parent
    return path[::-1]


def hypothesis_nodes(nodes: list[Node], penalty: LengthPenalty) -> list[int]:
    """List the indices of the finished hypotheses, best first under the length penalty."""
    ended = [index for index, node in enumerate(nodes) if node.status == "ended"]
    return sorted(ended, key=lambda index: -nodes[index].log_probability / penalty.at(nodes[index].step))
