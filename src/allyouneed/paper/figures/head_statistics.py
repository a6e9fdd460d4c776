"""Statistics of every head of the encoder's self-attention over a test set, to choose figures 3 to 5.

Shapes: layer, head; query, key: words, where the last key is the end of the sentence, `</s>`; relation: `RELATIONS`.
Attention of tokens is aggregated to words first: summed over the tokens of a key, averaged over those of a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from allyouneed.data.batches import pad, token_batches
from allyouneed.insight.words import Sentence, join_subwords
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.figures.word_classes import Lexicon, WordClasses, classify

# Relations of a key to its query; each key has exactly one. Near: 2 or 3 words away; far: at least FAR words away;
# punctuation: a word without letters or digits that is not adjacent to the query; end: `</s>`.
RELATIONS = ("same", "previous", "next", "near", "far", "punctuation", "end")
FAR = 4
READABLE, SHORT = range(8, 26), range(8, 15)  # sentence lengths for drawings of one query, of all queries
_BATCH_TOKENS = 4096


@dataclass
class HeadStatistics:
    """Sums over words, which can be added for parts of a test set.

    Attributes:
        sums: Sum of each measure, shape [layer, head].
        counts: Number of words of each measure.
        best: Strongest examples as (rank, sentence, query, key). "far" and "pronouns" have the query and key with the
            largest weight, shape [layer, head, 4]; "both" the sentence in which two heads are sharpest, shape
            [layer, head, head, 4]. The rank is the weight, plus 1 for a sentence of a readable length; 0 if there is no
            example.
    """

    sums: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, other: HeadStatistics) -> None:
        """Add the words of another part; if examples have equal ranks, the earlier one is kept."""
        for name, values in other.sums.items():
            self.sums[name] = self.sums.get(name, 0) + values
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]
        for name, new in other.best.items():
            old = self.best.get(name, new)
            self.best[name] = np.where(new[..., :1] > old[..., :1], new, old)

    def mean(self, name: str) -> np.ndarray:
        """Return the mean of a measure, shape [layer, head]; zero if it applies to no word."""
        return self.sums[name] / max(1, self.counts[name])

    def as_json(self) -> dict[str, Any]:
        """Convert to JSON, rounded to six decimals."""
        arrays = {"sums": self.sums, "best": self.best}
        return {
            "counts": self.counts,
            **{kind: {name: np.round(x, 6).tolist() for name, x in named.items()} for kind, named in arrays.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> HeadStatistics:
        """Invert `as_json`."""
        sums, best = ({name: np.array(x) for name, x in content[kind].items()} for kind in ("sums", "best"))
        return cls(sums, content["counts"], best)


@torch.inference_mode()
def encoder_attention(model: Transformer, sentences: Sequence[Sentence]) -> Iterator[tuple[int, np.ndarray]]:
    """Compute the encoder's attention for sentences.

    Args:
        model: The model in evaluation mode.
        sentences: The sentences.

    Yields:
        Index of a sentence, in no particular order, and its weights over words and `</s>`, shape
        [layer, head, query, key].
    """
    lengths = np.array([len(sentence.ids) for sentence in sentences])
    for batch in token_batches(lengths, lengths, _BATCH_TOKENS):
        recorder = AttentionRecorder()
        model.encode(pad([sentences[number].ids for number in batch]), Probe((recorder,)))
        for row, number in enumerate(batch):
            length = lengths[number]  # excludes padding, which has no weight
            weights = np.stack([layer[row, :, :length, :length].float().numpy() for layer in recorder.encoder])
            yield int(number), join_subwords(weights, sentences[number].starts)


def measure(model: Transformer, sentences: Sequence[Sentence], lexicon: Lexicon, first: int = 0) -> HeadStatistics:
    """Measure all heads over sentences.

    Args:
        model: The model in evaluation mode.
        sentences: The sentences.
        lexicon: Words of their language.
        first: Index of the first sentence in the test set.

    Returns:
        Their statistics.
    """
    statistics = HeadStatistics()
    for number, weights in encoder_attention(model, sentences):
        statistics.add(measure_sentence(weights, classify(sentences[number].words[:-1], lexicon), first + number))
    return statistics


def measure_sentence(weights: np.ndarray, classes: WordClasses, number: int = 0) -> HeadStatistics:
    """Measure all heads over one sentence.

    The measures, averaged over the words to which they apply:
    - RELATION: attention to keys with this relation, over words that have such a key
    - peak_RELATION, rate_RELATION: the largest weight, or 1, if its key has this relation, else 0
    - entropy: in nats
    - distance: in words, without `</s>`
    - pronouns: attention of pronouns to preceding content words other than the previous word
    - beside: the same for words adjacent to pronouns, since their keys are nearly the same
    - others: the same for all words that are not pronouns
    - peak_pronouns, peak_beside, peak_others: the largest weight if its key is such a content word, else 0

    Args:
        weights: Attention over words and `</s>`, shape [layer, head, query, key].
        classes: Classes of the words.
        number: Index of the sentence in the test set.

    Returns:
        Its statistics.
    """
    queries = weights[:, :, :-1]
    statistics = HeadStatistics()
    _measure_relations(statistics, queries, classes)
    _measure_pronouns(statistics, queries, classes)
    _find_examples(statistics, queries, classes, number)
    return statistics


def _add_measure(statistics: HeadStatistics, name: str, values: np.ndarray, words: np.ndarray) -> None:
    """Sum values [layer, head, query] over the selected words, boolean [query]."""
    statistics.sums[name], statistics.counts[name] = values[:, :, words].sum(axis=-1), int(words.sum())


def _measure_relations(statistics: HeadStatistics, weights: np.ndarray, classes: WordClasses) -> None:
    words = len(classes.letters)
    all_words = np.ones(words, dtype=bool)
    largest, largest_key = weights.max(axis=-1), weights.argmax(axis=-1)
    for name, keys in zip(RELATIONS, _relations(classes.letters), strict=True):
        _add_measure(statistics, name, (weights * keys).sum(axis=-1), keys.any(axis=1))
        is_largest = keys[np.arange(words), largest_key]
        _add_measure(statistics, f"peak_{name}", largest * is_largest, all_words)
        _add_measure(statistics, f"rate_{name}", is_largest, all_words)
    _add_measure(statistics, "entropy", -(weights * np.log(weights + 1e-30)).sum(axis=-1), all_words)
    to_words = weights[..., :-1] + 1e-30
    distance = (to_words * np.abs(_offsets(words)[:, :-1])).sum(axis=-1) / to_words.sum(axis=-1)
    _add_measure(statistics, "distance", distance, all_words)


def _measure_pronouns(statistics: HeadStatistics, weights: np.ndarray, classes: WordClasses) -> None:
    antecedents = _antecedents(classes)
    eligible = antecedents.any(axis=1) & classes.letters
    beside = np.convolve(classes.pronoun, [1, 0, 1])[1:-1] > 0
    largest, largest_key = weights.max(axis=-1), weights.argmax(axis=-1)
    is_largest = antecedents[np.arange(len(classes.letters)), largest_key]
    groups = {"pronouns": classes.pronoun, "beside": ~classes.pronoun & beside, "others": ~classes.pronoun}
    for name, group in groups.items():
        _add_measure(statistics, name, (weights * antecedents).sum(axis=-1), eligible & group)
        _add_measure(statistics, f"peak_{name}", largest * is_largest, eligible & group)


def _find_examples(statistics: HeadStatistics, weights: np.ndarray, classes: WordClasses, number: int) -> None:
    words = len(classes.letters)
    content = classes.content[:, None] & np.append(classes.content, False)
    far = _relations(classes.letters)[RELATIONS.index("far")] & content
    from_pronouns = _antecedents(classes) & classes.pronoun[:, None]
    statistics.best["far"] = _largest_weight(weights * far, words in READABLE, number)
    statistics.best["pronouns"] = _largest_weight(weights * from_pronouns, words in READABLE, number)
    sharpness = weights.max(axis=-1).mean(axis=-1)
    both = np.minimum(sharpness[:, :, None], sharpness[:, None, :]) + (words in SHORT)
    statistics.best["both"] = np.stack([both, *(np.full_like(both, value) for value in (number, 0, 0))], axis=-1)


def _antecedents(classes: WordClasses) -> np.ndarray:
    """Select content words before the query, except for the previous word; boolean [query, key]."""
    return (_offsets(len(classes.letters)) >= 2) & np.append(classes.content, False)


def head_rows(statistics: HeadStatistics) -> list[dict[str, Any]]:
    """Make a table of all heads.

    Args:
        statistics: Statistics of a test set.

    Returns:
        A row per head, numbered from 1, with all means, None for measures that apply to no word; lift is
        pronouns / others, lift_beside is pronouns / beside.
    """
    layers, heads = statistics.sums["entropy"].shape
    means = {name: statistics.mean(name) if count else None for name, count in statistics.counts.items()}
    for name, over in (("lift", "others"), ("lift_beside", "beside")):
        both = statistics.counts["pronouns"] and statistics.counts[over]
        means[name] = statistics.mean("pronouns") / np.maximum(statistics.mean(over), 1e-9) if both else None
    return [
        {
            "layer": i + 1,
            "head": j + 1,
            **{name: None if x is None else round(float(x[i, j]), 4) for name, x in means.items()},
        }
        for i in range(layers)
        for j in range(heads)
    ]


def most_distant(statistics: HeadStatistics) -> tuple[int, int]:
    """Find the head with the largest mean of peak_far.

    Args:
        statistics: Statistics of a test set.

    Returns:
        Layer and head, from 0.
    """
    return _argmax(statistics.mean("peak_far"))


def most_anaphoric(statistics: HeadStatistics) -> tuple[int, list[int]]:
    """Find the heads whose peak_pronouns exceeds peak_beside by the largest amount.

    Args:
        statistics: Statistics of a test set.

    Returns:
        A layer and two of its heads (or its only one), from 0.
    """
    excess = statistics.mean("peak_pronouns") - statistics.mean("peak_beside")
    layer, _ = _argmax(excess)
    return layer, np.argsort(-excess[layer], kind="stable")[:2].tolist()


def most_different(statistics: HeadStatistics) -> tuple[int, list[int], float]:
    """Find two heads of a layer whose largest weights have the most different relations.

    The difference is half the sum over relations, without `</s>`, of the absolute difference of peak_RELATION: at most
    1, for two heads that each put all weight on one word.

    Args:
        statistics: Statistics of a test set.

    Returns:
        Layer, heads (one if the layer has only one) and difference; indices are from 0.
    """
    peaks = np.stack([statistics.mean(f"peak_{name}") for name in RELATIONS if name != "end"])
    differences = np.abs(peaks[:, :, :, None] - peaks[:, :, None, :]).sum(axis=0) / 2
    layer, first, second = (int(i) for i in np.unravel_index(differences.argmax(), differences.shape))
    return layer, sorted({first, second}), float(differences[layer, first, second])


def _relations(letters: np.ndarray) -> np.ndarray:
    """Select keys by relation; boolean [relation, query, key] in the order of RELATIONS."""
    offsets = _offsets(len(letters))
    away, word, letters = np.abs(offsets), np.arange(len(letters) + 1) < len(letters), np.append(letters, False)
    near, far = letters & (away > 1) & (away < FAR), letters & (away >= FAR)
    beside = (word & (offsets == offset) for offset in (0, 1, -1))
    return np.stack([*beside, near, far, word & ~letters & (away > 1), np.broadcast_to(~word, away.shape)])


def _offsets(words: int) -> np.ndarray:
    """Return the number of words by which a key precedes a query, [query, key]."""
    return np.arange(words)[:, None] - np.arange(words + 1)


def _largest_weight(weights: np.ndarray, readable: bool, number: int) -> np.ndarray:
    """Find rank, sentence, query, key of each head's largest weight: [layer, head, query, key] -> [layer, head, 4]."""
    *heads, _, keys = weights.shape
    flat = weights.reshape(*heads, -1)
    index, weight = flat.argmax(axis=-1), flat.max(axis=-1)
    return np.stack([weight + (readable & (weight > 0)), np.full(heads, number), index // keys, index % keys], axis=-1)


def _argmax(values: np.ndarray) -> tuple[int, int]:
    layer, head = np.unravel_index(values.argmax(), values.shape)
    return int(layer), int(head)
