"""Two runs or checkpoints side by side: translations, next tokens, attention heads, entropy, and loss over a set.

Heads have no fixed order: permuting the heads of a layer, with the rows and columns of W^Q, W^K, W^V and W^O, gives
the same function, so that training with another seed may put the same head elsewhere. `match_heads` finds the
permutation of each layer under which the attention of both models is most similar. The layers are not permuted.

names           [first, second]; `described`: size of each model
model           [`explorer.model_facts` of each]
sides           [{text, score}]: each model's own translation
same_tokens     whether both models have the same vocabulary, so that tokens can be compared
scored          for each of the two translations, for each model: tokens, and given, top, log_p as
                `variant.predictions`
divergence      for each translation, the Jensen-Shannon divergence of the next-token distributions at each position,
                in bits (0: equal, 1: disjoint); null without the same vocabulary
source_tokens   of each model; `inputs`: the decoder's input, the first model's translation
attention       of each model on the first model's translation: {encoder, decoder, cross} as `coding.pack_weights`
entropy         of each model: {kind: [layer][head]}, in nats
heads           null where layers, heads or tokens differ; else {kind: {match, distance, at_index}}: for [layer][head]
                of the first model, the head of the second, its distance, and the distance of the head with the same
                index; a distance is the share of attention that differs (total variation, 0 to 1), averaged over
                queries and sentences
sentences       number of sentences that distances are averaged over
set             null, or {pairs, per_token, per_character}: loss of each model in nats on validation pairs of the first
                run; per_token is null without the same vocabulary
exchangeable    whether activations can be patched from one model into the other
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allyouneed.bundle import load_weights
from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.errors import UserError
from allyouneed.files import check_folder, read_tensors
from allyouneed.insight.coding import pack_weights
from allyouneed.insight.explorer import model_facts
from allyouneed.insight.layers.states import chunks_of_pairs, token_pair
from allyouneed.insight.patching.patch import check_exchangeable, same_vocabulary
from allyouneed.insight.variants.switches import Switches
from allyouneed.insight.variants.variant import PairResult, TokenPair, entropies, predictions, run_pair, weights_of
from allyouneed.model.probe import KINDS
from allyouneed.model.transformer import log_probabilities
from allyouneed.snapshots import KEPT
from allyouneed.translation.translator import Translator

MAX_TOKENS = 160  # of a side; attention of both models is stored in full
_MATCHED = 24  # validation pairs that heads are matched on, besides the sentence
_LOSS_PAIRS = 200
_BATCH_TOKENS = 2048
_REMEDY = "Choose another snapshot."


@dataclass(frozen=True)
class HeadMatch:
    """Heads of one kind that correspond.

    Attributes:
        match: For each head of the first model, the head of the second in the same layer, shape [layer, head].
        distance: Their distance, shape [layer, head].
        at_index: Distance of the heads with the same index, shape [layer, head].
    """

    match: np.ndarray
    distance: np.ndarray
    at_index: np.ndarray


def load_run_or_snapshot(path: Path, device: str | torch.device = "cpu") -> Translator:
    """Load a RUN, a bundle, or a snapshot of a run's weights (RUN/snapshots/weights-..., RUN/checkpoints/weights-...).

    Raises:
        UserError: If there is no bundle, or the snapshot is damaged or has other shapes.
    """
    if not path.name.startswith("weights-") or path.resolve().parent.name not in (KEPT, "checkpoints"):
        return Translator.load(path, device)
    check_folder(path, ["model.safetensors"], _REMEDY)
    translator = Translator.load(path.resolve().parent.parent, device)
    with torch.no_grad():
        load_weights(translator.model, read_tensors(path / "model.safetensors"), path / "model.safetensors")
    return Translator(replace(translator.bundle, model=translator.model), device)


def short_names(first: Path, second: Path) -> tuple[str, str]:
    """Name two folders by the ends of their paths, as much of them as differs."""
    ends = [path.resolve().parts for path in (first, second)]
    length = next((n for n in range(1, max(map(len, ends))) if ends[0][-n:] != ends[1][-n:]), 1)
    return "/".join(ends[0][-length:]), "/".join(ends[1][-length:])


def match_heads(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> HeadMatch:
    """Match the heads of each layer of two models by their attention.

    Args:
        first: Attention weights of one kind for several sentences, each [layer, head, query, key].
        second: Those of the other model, with the same shapes.

    Returns:
        The one-to-one assignment within each layer that minimises the sum of distances.
    """
    distances = np.mean([_distances(a, b) for a, b in zip(first, second, strict=True)], axis=0)
    match = np.array([assign(layer) for layer in distances])
    at_index = np.diagonal(distances, axis1=1, axis2=2)
    return HeadMatch(match, np.take_along_axis(distances, match[..., None], axis=2)[..., 0], at_index)


def assign(costs: np.ndarray) -> list[int]:
    """Assign columns to rows one to one at the lowest total cost, by shortest augmenting paths.

    This is the Hungarian method (Kuhn 1955) in the form of Jonker and Volgenant (1987).

    Args:
        costs: Square matrix.

    Returns:
        The column of each row.
    """
    size = len(costs)
    row_of = np.full(size + 1, -1)  # row of each column; the last column is a start
    of_rows, of_columns = np.zeros(size), np.zeros(size + 1)  # potentials
    for row in range(size):
        row_of[size], column = row, size
        shortest, previous, visited = np.full(size, np.inf), np.full(size, -1), np.zeros(size + 1, bool)
        while row_of[column] >= 0:
            visited[column] = True
            reduced = costs[row_of[column]] - of_rows[row_of[column]] - of_columns[:size]
            closer = ~visited[:size] & (reduced < shortest)
            shortest[closer], previous[closer] = reduced[closer], column
            following = int(np.where(visited[:size], np.inf, shortest).argmin())
            step = shortest[following]
            of_rows[row_of[visited]] += step
            of_columns[visited] -= step
            shortest[~visited[:size]] -= step
            column = following
        while column != size:
            row_of[column], column = row_of[previous[column]], int(previous[column])
    return np.argsort(row_of[:size]).tolist()


def comparison_data(
    first: Translator, second: Translator, text: str, names: tuple[str, str], pairs: Sequence[TokenPair] = ()
) -> dict[str, Any]:
    """Compute the JSON object described above.

    Args:
        first: Translator of the page.
        second: Translator to compare with.
        text: Sentence in the source language.
        names: Names of both.
        pairs: Token ids of sentence pairs in the first translator's vocabulary, for the loss and the match of heads.

    Raises:
        UserError: If the text is empty or too long, or the models are for other languages.
    """
    both = (first, second)
    if first.bundle.languages != second.bundle.languages:
        found = " and ".join("→".join(each.bundle.languages) for each in both)
        raise UserError(f"the models translate different languages ({found}): choose runs of one language pair.")
    texts = [each.translate(text) for each in both]
    scored = [[token_pair(model, text, each.text) for model in both] for each in texts]
    longest = max(max(len(pair.source), len(pair.target) + 1) for row in scored for pair in row)
    if longest > MAX_TOKENS:
        raise UserError(
            f"a side has {longest} tokens, the limit of a comparison is {MAX_TOKENS}: shorten the sentence."
        )
    runs = [[run_pair(model, pair, Switches()) for model, pair in zip(both, row, strict=True)] for row in scored]
    same_tokens = same_vocabulary(first, second)
    weights = [weights_of(run.recorded) for run in runs[0]]
    matched = list(pairs[:_MATCHED]) if same_tokens else []
    source_tokens = [model.tokenizer.pieces(run.source) for model, run in zip(both, runs[0], strict=True)]
    targets = [model.tokenizer.target.pieces(pair.target) for model, pair in zip(both, scored[0], strict=True)]
    comparable = source_tokens[0] == source_tokens[1] and targets[0] == targets[1]
    return {
        "names": list(names),
        "described": [each.bundle.described() for each in both],
        "model": [model_facts(each.model) for each in both],
        "sides": [{"text": each.text, "score": round(each.score, 4)} for each in texts],
        "same_tokens": same_tokens,
        "scored": [
            [_scored(model, run, pair) for model, run, pair in zip(both, of_text, row, strict=True)]
            for of_text, row in zip(runs, scored, strict=True)
        ],
        "divergence": [_divergence(*of_text) for of_text in runs] if same_tokens else None,
        "source_tokens": source_tokens,
        "inputs": [["<s>", *tokens] for tokens in targets],
        "attention": [{kind: pack_weights(each[kind]) for kind in KINDS} for each in weights],
        "entropy": [{kind: _rounded(entropies(each[kind])) for kind in KINDS} for each in weights],
        "heads": _heads(both, weights, matched) if comparable else None,
        "sentences": 1 + len(matched),
        "set": _set(both, pairs[:_LOSS_PAIRS], same_tokens) if pairs else None,
        "exchangeable": _exchangeable(first, second),
    }


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Total variation distance of every head of a layer to every head of the other, [layer, head, head]."""
    return np.abs(first[:, :, None] - second[:, None]).sum(axis=-1).mean(axis=-1) / 2


def _heads(
    both: tuple[Translator, Translator], weights: list[dict[str, np.ndarray]], pairs: Sequence[TokenPair]
) -> dict[str, Any] | None:
    """Match the heads of each kind; None where the numbers of layers or heads differ."""
    if any(weights[0][kind].shape != weights[1][kind].shape for kind in KINDS):
        return None
    others = [[weights_of(run_pair(model, pair, Switches()).recorded) for pair in pairs] for model in both]
    result = {}
    for kind in KINDS:
        found = match_heads(
            *([own[kind], *(each[kind] for each in rest)] for own, rest in zip(weights, others, strict=True))
        )
        result[kind] = {
            "match": found.match.tolist(),
            "distance": _rounded(found.distance),
            "at_index": _rounded(found.at_index),
        }
    return result


def _rounded(values: np.ndarray) -> list[list[float]]:
    rounded: list[list[float]] = np.round(values.astype(np.float64), 4).tolist()
    return rounded


def _scored(model: Translator, run: PairResult, pair: TokenPair) -> dict[str, Any]:
    tokens = model.tokenizer.target.pieces([*pair.target, EOS])
    return {"tokens": tokens, **predictions(model, run.log_p, pair.target)}


def _divergence(first: PairResult, second: PairResult) -> list[float]:
    """Jensen-Shannon divergence of the predictions at each position, in bits."""
    p, q = (np.exp(run.log_p.astype(np.float64)) for run in (first, second))
    middle = np.log2((p + q) / 2 + 1e-300)
    parts = [(each * (np.log2(each + 1e-300) - middle)).sum(axis=-1) for each in (p, q)]
    return [round(float(x), 4) for x in np.maximum(0, (parts[0] + parts[1]) / 2)]


def _set(both: tuple[Translator, Translator], pairs: Sequence[TokenPair], same_tokens: bool) -> dict[str, Any]:
    """Measure the loss of both models on the same text."""
    first = both[0].tokenizer
    texts = [(first.decode(pair.source[:-1]), first.target.decode(pair.target)) for pair in pairs]
    own = pairs if same_tokens else [token_pair(both[1], *text) for text in texts]
    totals = [_total_loss(model, each) for model, each in zip(both, (pairs, own), strict=True)]
    tokens = sum(len(pair.target) + 1 for pair in pairs)
    characters = sum(len(target) + 1 for _, target in texts)
    return {
        "pairs": len(pairs),
        "per_token": [round(total / tokens, 4) for total in totals] if same_tokens else None,
        "per_character": [round(total / characters, 4) for total in totals],
    }


@torch.inference_mode()
def _total_loss(translator: Translator, pairs: Sequence[TokenPair]) -> float:
    total = 0.0
    for chunk in chunks_of_pairs(pairs, _BATCH_TOKENS):
        source = pad([pair.source for pair in chunk]).to(translator.device)
        target = pad([[BOS, *pair.target, EOS] for pair in chunk]).to(translator.device)
        log_p = log_probabilities(translator.model(source, target[:, :-1]))
        given = log_p.gather(-1, target[:, 1:, None])[..., 0]
        total -= float(given[target[:, 1:] != PAD].double().sum())
    return total


def _exchangeable(first: Translator, second: Translator) -> bool:
    try:
        check_exchangeable(first, second)
    except UserError:
        return False
    return True
