"""A beam search of one sentence with everything it considered, as a tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokenizer import EOS
from allyouneed.translation.beam_search import BeamSearch, Candidates
from allyouneed.translation.search import Hypothesis, Model, length_penalty


@dataclass
class Node:
    """A continuation that was among the best 2 · beam of its step.

    parent: its place in the list of nodes, -1 for the start; step: from 1, the number of subwords, end included;
    log_probability: of all up to here; status: "alive" (went on), "cut" (left out), "ended" (a hypothesis).
    """

    parent: int
    step: int
    token: int
    log_probability: float
    status: str


class TracedBeamSearch(BeamSearch):
    """The same search, of one sentence, that notes what it does. nodes: in the order of steps, best first."""

    def __init__(self, model: Model, source_ids: Tensor, longest: int, beam_size: int, alpha: float):
        super().__init__(model, source_ids, [longest], beam_size, alpha, num_hypotheses=beam_size)
        self.nodes: list[Node] = []
        self._beam_nodes = [-1] * beam_size  # of each place in the beam
        self._new: list[int] = []  # of each candidate of this step

    def candidates(self, length: int) -> Candidates:
        found = super().candidates(length)
        scores, parents, tokens, _ = (of_all[0].tolist() for of_all in found)
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
        tokens, places = candidates.tokens, self.unfinished(candidates.tokens)
        self._beam_nodes = [self._new[place] for place in places[0].tolist()]
        for place, node in zip(places[0].tolist(), self._beam_nodes, strict=True):
            if node >= 0 and tokens[0, place] != EOS:
                self.nodes[node].status = "alive"
        return super().advance(candidates)


@torch.inference_mode()
def traced_search(
    model: Model, source_ids: Tensor, longest: int, beam_size: int, alpha: float
) -> tuple[list[Hypothesis], list[Node]]:
    """source_ids [1, source] -> hypotheses, best first, and the tree. Those that search keeps: at most beam_size."""
    search = TracedBeamSearch(model, source_ids, longest, beam_size, alpha)
    [hypotheses] = search.run()
    return hypotheses, search.nodes


def path_of(nodes: list[Node], place: int) -> list[int]:
    """The places of the nodes from the first step to this one."""
    path = []
    while place >= 0:
        path.append(place)
        place = nodes[place].parent
    return path[::-1]


def hypothesis_nodes(nodes: list[Node], alpha: float) -> list[int]:
    """The places of the hypotheses that ended, best first."""
    ended = [place for place, node in enumerate(nodes) if node.status == "ended"]
    return sorted(ended, key=lambda place: -nodes[place].log_probability / length_penalty(nodes[place].step, alpha))
