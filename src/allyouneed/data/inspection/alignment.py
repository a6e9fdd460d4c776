"""Detection of text that is parallel only by its number of lines: one side shifted, or both sides unrelated.

Three features compare a source line with a target line without knowledge of the languages: their lengths, tokens that
both have (numbers, names, punctuation), and words that occur together elsewhere in the corpus (IBM model 1 after its
first iteration, Brown et al. 1993). Each source line is compared with the target line of the same number, with its
neighbours, and with distant lines, which show how unrelated lines score. The alignment is the best path of a hidden
Markov model, whose states are the shifts: where a neighbour fits better over many lines, one side is shifted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from allyouneed.data.files.tables import RawPair, position, shown_position
from allyouneed.data.inspection.findings import Finding, examples_of

MAX_SHIFT = 5  # lines
_BLOCK = 50  # consecutive lines of a sample
_BLOCKS = 16
_VOCABULARY = 300  # most frequent words of each side
_CONTROLS = 3  # distant lines that each line is compared with
_MIN_PAIRS = 40
_FEWEST_TESTED = 500  # pairs from which a corpus without any sign of being parallel is reported
_SWITCH = 18.0  # nats against a change of state from line to line
_CLEAR = 5.0  # standard errors by which another alignment must fit better
_CHANCE = 3.0  # standard errors of unrelated lines
_FEWEST_SHIFTED, _FEWEST_UNRELATED = 15, 100  # pairs; fewer are not certain
_FEWEST_IN_ROW = 5  # pairs of a stretch; a single line may happen to resemble a neighbour
_FEWEST_WORDS = 5  # of a typical line; single words have too few features to tell that they are unrelated
_LONGEST_SPAN = 5000  # pairs in which the exact line is looked for
_STEM = 5  # characters of a word that are compared
_TOKEN = re.compile(r"\d+|[ㄱ-ㆎ가-힣]{1,2}|[฀-໿က-႟ក-៿぀-ヿ㐀-鿿\uf900-\ufaff]|[^\W\d_]+|[^\w\s]")
_PUNCTUATION = str.maketrans("。、「」『』¿¡؟،۔।", '.,""""??' + "?,..")
_SHIFTS = range(-MAX_SHIFT, MAX_SHIFT + 1)
_UNRELATED = len(_SHIFTS)  # the state after those of the shifts


class Stretch(NamedTuple):
    """Consecutive pairs that are not parallel.

    Attributes:
        pairs: The pairs as they were examined.
        shift: Number of lines from a source line to its target line; None if the sides are unrelated.
    """

    pairs: Sequence[RawPair]
    shift: int | None


def alignment_findings(pairs: Sequence[RawPair]) -> list[Finding]:
    """Report stretches of a corpus that are not parallel: one finding for each shift, and one for unrelated text.

    Args:
        pairs: Consecutive pairs.
    """
    stretches, findings = misaligned_stretches(pairs), []
    for shift in dict.fromkeys(stretch.shift for stretch in stretches):
        affected = [pair for stretch in stretches if stretch.shift == shift for pair in stretch.pairs]
        first, refused = shown_position(position(affected[0])), True
        if shift is None:
            fault, remedy = "source and target have nothing in common", "Check that both sides are the same text."
        else:
            lines = f"{abs(shift)} lines" if abs(shift) > 1 else "one line"
            order = "above" if shift < 0 else "below"
            fault = f"from line {first} on, the translation is {lines} {order}"
            remedy = f"Look for a missing or an additional line near line {first}."
            if _is_continued(pairs, shift):
                fault, remedy, refused = "the target is the source of a neighbouring line, as in a dialogue", "", False
        findings.append(Finding(fault, len(affected), len(pairs), examples_of(affected), remedy, refused))
    return findings


def _is_continued(pairs: Sequence[RawPair], shift: int) -> bool:
    """Return whether most targets are the sources of the lines that resemble them, so that they are no translations."""
    count = len(pairs) - abs(shift)
    sources, targets = pairs[max(0, -shift) :], pairs[max(0, shift) :]
    equal = sum(pair.source == other.target for pair, other in zip(sources, targets, strict=False))
    return 2 * equal > count


def misaligned_stretches(pairs: Sequence[RawPair]) -> list[Stretch]:
    """Find stretches of a corpus that are not parallel, in its order.

    Args:
        pairs: Consecutive pairs.
    """
    if len(pairs) < _MIN_PAIRS:
        return []
    chosen = _sample(len(pairs))
    states = _states([pairs[index] for index in chosen])
    if len(chosen) < len(pairs) and (states != MAX_SHIFT).any():
        more = _with_borders(chosen, states, len(pairs))
        refined = _states([pairs[index] for index in more])
        if (refined != MAX_SHIFT).any():  # uncertain among the added lines, which may resemble their neighbours
            chosen, states = more, refined
    stretches = []
    for state, group in groupby(range(len(chosen)), key=lambda row: int(states[row])):
        rows = list(group)
        if state != MAX_SHIFT:
            end = chosen[rows[-1] + 1] if rows[-1] + 1 < len(chosen) else len(pairs)
            shift = None if state == _UNRELATED else state - MAX_SHIFT
            stretches.append(Stretch(pairs[chosen[rows[0]] : end], shift))
    return stretches


def _sample(count: int) -> np.ndarray:
    """Return the indices of blocks of consecutive pairs, distributed over a corpus; all of a small one."""
    if count <= _BLOCK * _BLOCKS:
        return np.arange(count)
    starts = np.linspace(0, count - _BLOCK, _BLOCKS).astype(int)
    return (starts[:, None] + np.arange(_BLOCK)).ravel()


def _with_borders(chosen: np.ndarray, states: np.ndarray, count: int) -> np.ndarray:
    """Add the pairs around the first changes of the state, as far as the next blocks, to find the exact lines."""
    changes, last = np.flatnonzero(np.diff(states))[:2], len(chosen) - 1
    spans = [(chosen[max(0, row - _BLOCK)], chosen[min(last, row + _BLOCK)]) for row in changes]
    added = [np.arange(start, min(end, start + _LONGEST_SPAN)) for start, end in spans]
    return np.unique(np.concatenate([chosen, *added]))


def _states(pairs: Sequence[RawPair]) -> np.ndarray:
    """Return the state of each pair: a shift plus `MAX_SHIFT`, or `_UNRELATED`."""
    sources, targets = [_tokens(pair.source) for pair in pairs], [_tokens(pair.target) for pair in pairs]
    scores = _similarity(pairs, sources, targets)
    typical, count = _typical_score(scores), len(pairs)
    sides = zip(sources, targets, strict=True)
    wordy = np.array([min(map(len, each)) >= _FEWEST_WORDS and _has_letter(each[0] | each[1]) for each in sides])
    if count >= _FEWEST_TESTED and wordy.mean() > 0.5 and scores.mean(axis=1).max() * np.sqrt(count) < _CHANCE:
        return np.full(count, _UNRELATED)
    path = _best_path(scores, typical)
    for state, group in groupby(range(count), key=list(path).__getitem__):
        rows = list(group)
        if state == MAX_SHIFT:
            continue
        everywhere = np.flatnonzero(path == state) if state != _UNRELATED else np.array(rows)
        certain = _is_certain(scores[:, everywhere], state, typical, wordy[rows].mean())
        if len(rows) < _FEWEST_IN_ROW or not certain:
            path[rows] = MAX_SHIFT
    return path


def _similarity(pairs: Sequence[RawPair], sources: list[set[str]], targets: list[set[str]]) -> np.ndarray:
    """Score each source line against the target lines at all shifts.

    Args:
        pairs: The pairs.
        sources: Tokens of each source line.
        targets: Tokens of each target line.

    Returns:
        Scores in standard deviations of unrelated lines, shape [shifts, pairs].
    """
    count = len(pairs)
    controls = [max(MAX_SHIFT + 1, count * (index + 1) // (_CONTROLS + 2)) for index in range(_CONTROLS)]
    shifts = [*_SHIFTS, *controls]
    total = np.zeros((len(shifts), count))
    for values in (_length_scores(pairs, shifts), _shared_scores(sources, targets, shifts),
                   _lexical_scores(sources, targets, shifts)):  # fmt: skip
        scaled = _scaled(values)
        total += max(0.02, scaled[: len(_SHIFTS)].mean(axis=1).max()) * scaled
    scores = _scaled(total)[: len(_SHIFTS)]
    sides = zip(sources, targets, strict=True)
    comparable = [bool(source and target) and _has_letter(source | target) for source, target in sides]
    scores[:, ~np.array(comparable)] = 0  # numbers in sequence resemble their neighbours
    return scores


def _scaled(values: np.ndarray) -> np.ndarray:
    """Scale such that the scores of unrelated lines have mean 0 and standard deviation 1."""
    unrelated = values[len(_SHIFTS) :]
    return (values - unrelated.mean()) / (unrelated.std() + 1e-9)


def _tokens(text: str) -> set[str]:
    """Return stems of words, single characters of scripts without spaces, numbers and punctuation."""
    text = unicodedata.normalize("NFKC", text).casefold().translate(_PUNCTUATION)
    return {str(int(token)) if token.isdecimal() else token[:_STEM] for token in _TOKEN.findall(text[:500])}


def _has_letter(tokens: set[str]) -> bool:
    return any(token.isalpha() for token in tokens)


def _length_scores(pairs: Sequence[RawPair], shifts: Sequence[int]) -> np.ndarray:
    source = np.log1p([len(pair.source) for pair in pairs])
    target = np.log1p([len(pair.target) for pair in pairs])
    usual = np.median(source - target)
    return np.array([-np.abs(source - np.roll(target, -shift) - usual) for shift in shifts])


def _shared_scores(sources: list[set[str]], targets: list[set[str]], shifts: Sequence[int]) -> np.ndarray:
    """Return the cosine between the tokens that occur on both sides of the corpus, weighted by their rarity."""
    count = len(sources)
    frequency = Counter(token for line in (*sources, *targets) for token in line)
    both = set().union(*sources) & set().union(*targets)
    weight = {token: float(np.log(2 * count / frequency[token])) for token in both}
    sides = [[line & both for line in side] for side in (sources, targets)]
    norms = [np.sqrt([1 + sum(map(weight.__getitem__, line)) for line in side]) for side in sides]
    scores = np.zeros((len(shifts), count))
    for row, shift in enumerate(shifts):
        for index, line in enumerate(sides[0]):
            if line and (common := line & sides[1][(index + shift) % count]):
                scores[row, index] = sum(map(weight.__getitem__, common))
        scores[row] /= norms[0] * np.roll(norms[1], -shift)
    return scores


def _lexical_scores(sources: list[set[str]], targets: list[set[str]], shifts: Sequence[int]) -> np.ndarray:
    """Return the mean log ratio of the probability of target words given the source line, and given nothing.

    Words are counted together in the same and in neighbouring lines, so that a shifted corpus has the same evidence.
    Each half of the blocks is scored with the counts of the other half.
    """
    source, target = _incidence(sources), _incidence(targets)
    near = target + np.roll(target, 1, axis=0) + np.roll(target, -1, axis=0)
    half = (np.arange(len(sources)) // min(_BLOCK, len(sources) // 2)) % 2 == 0
    gain = np.zeros_like(target)
    for scored in (half, ~half):
        unigram = near[~scored].mean(axis=0) + 1e-6
        unigram /= unigram.sum()
        together = source[~scored].T @ near[~scored] + 0.5 * unigram
        together /= together.sum(axis=1, keepdims=True)
        given = (source[scored] / np.maximum(1, source[scored].sum(axis=1, keepdims=True))) @ together
        gain[scored] = np.log(0.1 + 0.9 * given / unigram)
    words = np.maximum(1, target.sum(axis=1))
    return np.array([(gain * np.roll(target, -s, axis=0)).sum(axis=1) / np.roll(words, -s) for s in shifts])


def _incidence(lines: list[set[str]]) -> np.ndarray:
    """Return which of the most frequent words each line has, shape [lines, words]."""
    frequent = Counter(token for line in lines for token in line).most_common(_VOCABULARY)
    column = {token: index for index, (token, count) in enumerate(frequent) if count > 1}
    cells = [(row, column[token]) for row, line in enumerate(lines) for token in line & column.keys()]
    matrix = np.zeros((len(lines), max(1, len(column))), dtype=np.float32)
    if cells:
        matrix[tuple(np.array(cells).T)] = 1
    return matrix


def _typical_score(scores: np.ndarray) -> float:
    """Estimate the mean score of aligned lines: that of the best shift, in the better half of the corpus."""
    width = min(_BLOCK, scores.shape[1])
    blocks = scores[:, : scores.shape[1] // width * width].reshape(len(_SHIFTS), -1, width).mean(axis=2)
    return float(np.quantile(blocks.max(axis=0), 0.75))


def _best_path(scores: np.ndarray, typical: float) -> np.ndarray:
    """Return the most likely states (Viterbi) for normal scores, with mean `typical` at the right shift.

    Lines are unrelated only with scores well below half of that, since short sentences score lower than others.
    """
    clipped = np.clip(scores, -3, typical + 3)
    emissions = typical * np.vstack([clipped, np.full(scores.shape[1], typical / 5)])
    best, came = emissions[:, 0].copy(), np.zeros(emissions.shape, dtype=int)
    for index in range(1, emissions.shape[1]):
        leader = int(best.argmax())
        stays = best >= best[leader] - _SWITCH
        came[:, index] = np.where(stays, np.arange(len(best)), leader)
        best = np.where(stays, best, best[leader] - _SWITCH) + emissions[:, index]
    path = np.empty(emissions.shape[1], dtype=int)
    path[-1] = int(best.argmax())
    for index in range(len(path) - 1, 0, -1):
        path[index - 1] = came[path[index], index]
    return path


def _is_certain(scores: np.ndarray, state: int, typical: float, wordy: float) -> bool:
    """Return whether a stretch in another state than 0 is certainly not parallel.

    Args:
        scores: Scores of the stretch, shape [shifts, pairs].
        state: Its state.
        typical: Mean score of aligned lines.
        wordy: Share of lines that are no single words or short phrases.
    """
    count, own = scores.shape[1], scores[MAX_SHIFT]
    if state == _UNRELATED:
        by_chance = np.abs(scores.mean(axis=1)).max() * np.sqrt(count) < _CHANCE
        enough = count >= _FEWEST_UNRELATED and wordy > 0.5
        return bool(enough and by_chance and typical * np.sqrt(count) > 2 * _CLEAR)
    better = np.clip(scores[state], -3, typical + 3) - np.clip(own, -3, typical + 3)
    error = better.std() / np.sqrt(count) + 1e-9
    clear = better.mean() > max(_CLEAR * error, typical / 8)  # neighbours in sorted text resemble each other
    return bool(count >= _FEWEST_SHIFTED and clear and scores[state].mean() > typical / 4)
