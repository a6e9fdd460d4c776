"""Which head behaves how: every head of the encoder's self-attention, measured over a test set (figures 3 to 5).

Shapes: layer, head; query, key: words, of which the last key is the end of the sentence, `</s>`; relation: `RELATIONS`.
Subwords are joined first: attention to a word is the sum over its subwords, from a word the mean over them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from allyouneed.data.batches import pad, token_batches
from allyouneed.insight.words import Sentence, has_letters, join_subwords
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer

# Where a word can look; each key is in one of them. Near: 2 or 3 words away; far: at least 4; punctuation: not beside.
RELATIONS = ("same", "previous", "next", "near", "far", "punctuation", "end")
FAR = 4
FREQUENT = 50  # words that are no content words in a language without a list, at most a tenth of the different ones
READABLE, SHORT = range(8, 26), range(8, 15)  # words of a sentence that is drawn for one word, for all words
_BATCH_TOKENS = 4096
_PRONOUNS = {
    "de": "er sie es ihn ihm ihnen sein seine seinen seinem seiner seines ihr ihre ihren ihrem ihrer ihres sich",
    "en": "he she it its his her hers their theirs they him them himself herself itself themselves",
    "fr": "il elle ils elles lui eux leur leurs son sa ses se",
}
_FUNCTION_WORDS = {
    "de": "der die das den dem des ein eine einen einem einer eines und oder aber denn dass ob wenn als wie während "
    "in im an am auf aus bei beim mit nach von vom vor zu zum zur über unter um durch für gegen ohne neben zwischen "
    "hinter ist sind war waren wird werden wurde wurden hat haben hatte sein kann auch nicht noch nur so sehr da dort "
    "hier dabei während welche welcher welches dieser diese dieses",
    "en": "a an the this that these those and or but nor if as than so while when where which who whom whose what of "
    "in on at by for from with without to into onto over under up down out off through across near behind between "
    "around along about front next is are was were be been being am do does did has have had can could will would may "
    "might not no there here also very just too then i you we my your our me us 's",
    "fr": "le la les l' un une des du de d' et ou mais si que qui qu' dont où comme quand à au aux en dans sur sous "
    "par pour avec sans entre vers chez est sont était étaient être a ont avait avoir ne pas plus y ce cet cette ces "
    "tandis pendant devant derrière très aussi",
}


class Lexicon(NamedTuple):
    """Words in lower case. pronouns: of the third person, none in a language without a list; function: no content."""

    pronouns: frozenset[str]
    function: frozenset[str]


class Kinds(NamedTuple):
    """What each word of a sentence is, without `</s>`: boolean [query]. letters: has a letter or a digit."""

    letters: np.ndarray
    content: np.ndarray
    pronoun: np.ndarray


@dataclass
class Tally:
    """Sums over words, which add up: of parts of a test set, and those of a sentence.

    sums: a measure's [layer, head]; counts: over how many words; best: rank, sentence, query and key of the strongest
    line [layer, head, 4] ("far", "pronouns"), and the sentence where two heads are sharpest [layer, head, head, 4].
    A rank is the weight, and 1 more in a sentence whose length reads well; 0 where there is none.
    """

    sums: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """The other's words too; of equally strong lines the earlier stays."""
        for name, values in other.sums.items():
            self.sums[name] = self.sums.get(name, 0) + values
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]
        for name, found in other.best.items():
            kept = self.best.get(name, found)
            self.best[name] = np.where(found[..., :1] > kept[..., :1], found, kept)

    def mean(self, name: str) -> np.ndarray:
        """[layer, head], zero where no word counts."""
        return self.sums[name] / max(1, self.counts[name])

    def as_json(self) -> dict[str, Any]:
        """Rounded to six digits after the point."""
        arrays = {"sums": self.sums, "best": self.best}
        return {
            "counts": self.counts,
            **{kind: {name: np.round(x, 6).tolist() for name, x in named.items()} for kind, named in arrays.items()},
        }

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Tally:
        """What `as_json` gave."""
        sums, best = ({name: np.array(x) for name, x in facts[kind].items()} for kind in ("sums", "best"))
        return cls(sums, facts["counts"], best)


def lexicon_of(language: str, sentences: Sequence[Sentence]) -> Lexicon:
    """The language's own list of function words; without one, the most frequent words of the sentences."""
    if language in _PRONOUNS:
        pronouns = frozenset(_PRONOUNS[language].split())
        return Lexicon(pronouns, pronouns.union(_FUNCTION_WORDS[language].split()))
    counted = Counter(word.lower() for sentence in sentences for word in sentence.words[:-1])
    frequent = counted.most_common(min(FREQUENT, len(counted) // 10))
    return Lexicon(frozenset(), frozenset(word for word, _ in frequent))


def kinds_of(words: Sequence[str], lexicon: Lexicon) -> Kinds:
    """Of the words of a sentence, without `</s>`."""
    letters = np.array([has_letters(word) for word in words])
    function = np.array([word.lower() in lexicon.function for word in words])
    return Kinds(letters, letters & ~function, np.array([word.lower() in lexicon.pronouns for word in words]))


@torch.inference_mode()
def encoder_attention(model: Transformer, sentences: Sequence[Sentence]) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each sentence, not in order, and its weights [layer, head, query, key], words and `</s>`."""
    lengths = np.array([len(sentence.ids) for sentence in sentences])
    for batch in token_batches(lengths, lengths, _BATCH_TOKENS):
        recorder = AttentionRecorder()
        model.encode(pad([sentences[number].ids for number in batch]), Probe((recorder,)))
        for row, number in enumerate(batch):
            length = lengths[number]  # padding stands behind it and has no weight
            weights = np.stack([layer[row, :, :length, :length].float().numpy() for layer in recorder.encoder])
            yield int(number), join_subwords(weights, sentences[number].starts)


def measure(model: Transformer, sentences: Sequence[Sentence], lexicon: Lexicon, first: int = 0) -> Tally:
    """All sentences together; the first of them has the number `first`."""
    tally = Tally()
    for number, weights in encoder_attention(model, sentences):
        tally.add(measure_sentence(weights, kinds_of(sentences[number].words[:-1], lexicon), first + number))
    return tally


def measure_sentence(weights: np.ndarray, kinds: Kinds, number: int = 0) -> Tally:
    """weights [layer, head, query, key] with `</s>` as the last of both. Means are over words that have such a key.

    RELATION: a word's attention to such words; peak_RELATION, rate_RELATION: the weight of its strongest line, and one,
    where it goes there, else 0; entropy in nats; distance in words, `</s>` left out.
    pronouns: what pronouns put on content words before them, not directly before; others: what all other words put
    there; beside: what the words on either side of pronouns do, which have nearly the same words to look at.
    """
    weights = weights[:, :, :-1]
    words = len(kinds.letters)
    there = _relations(kinds.letters)
    tally = Tally()

    def count(name: str, values: np.ndarray, of: np.ndarray) -> None:
        """values [layer, head, query], of: boolean [query]."""
        tally.sums[name], tally.counts[name] = values[:, :, of].sum(axis=-1), int(of.sum())

    everyone = np.ones(words, dtype=bool)
    strongest, goes_to = weights.max(axis=-1), weights.argmax(axis=-1)
    for name, keys in zip(RELATIONS, there, strict=True):
        count(name, (weights * keys).sum(axis=-1), keys.any(axis=1))
        goes_there = keys[np.arange(words), goes_to]
        count(f"peak_{name}", strongest * goes_there, everyone)
        count(f"rate_{name}", goes_there, everyone)
    count("entropy", -(weights * np.log(weights + 1e-30)).sum(axis=-1), everyone)
    to_words = weights[..., :-1] + 1e-30
    count("distance", (to_words * np.abs(_offsets(words)[:, :-1])).sum(axis=-1) / to_words.sum(axis=-1), everyone)

    before = (_offsets(words) >= 2) & np.append(kinds.content, False)
    can = before.any(axis=1) & kinds.letters
    beside = np.convolve(kinds.pronoun, [1, 0, 1])[1:-1] > 0
    groups = {"pronouns": kinds.pronoun, "beside": ~kinds.pronoun & beside, "others": ~kinds.pronoun}
    for name, group in groups.items():
        count(name, (weights * before).sum(axis=-1), can & group)
        count(f"peak_{name}", strongest * before[np.arange(words), goes_to], can & group)

    content = kinds.content[:, None] & np.append(kinds.content, False)
    far = there[RELATIONS.index("far")] & content
    tally.best["far"] = _strongest_line(weights * far, words in READABLE, number)
    tally.best["pronouns"] = _strongest_line(weights * (before & kinds.pronoun[:, None]), words in READABLE, number)
    sharpness = strongest.mean(axis=-1)
    both = np.minimum(sharpness[:, :, None], sharpness[:, None, :]) + (words in SHORT)
    tally.best["both"] = np.stack([both, *(np.full_like(both, place) for place in (number, 0, 0))], axis=-1)
    return tally


def head_rows(tally: Tally) -> list[dict[str, Any]]:
    """A row a head, counted from 1, with all that was measured, None where no word counts; lift: pronouns over others,
    lift_beside: over beside."""
    layers, heads = tally.sums["entropy"].shape
    means = {name: tally.mean(name) if count else None for name, count in tally.counts.items()}
    for name, over in (("lift", "others"), ("lift_beside", "beside")):
        both = tally.counts["pronouns"] and tally.counts[over]
        means[name] = tally.mean("pronouns") / np.maximum(tally.mean(over), 1e-9) if both else None
    return [
        {
            "layer": i + 1,
            "head": j + 1,
            **{name: None if x is None else round(float(x[i, j]), 4) for name, x in means.items()},
        }
        for i in range(layers)
        for j in range(heads)
    ]


def most_distant(tally: Tally) -> tuple[int, int]:
    """Layer and head, from 0: the largest mean of the strongest line's weight, where it goes far, else 0."""
    return _place(tally.mean("peak_far"))


def most_anaphoric(tally: Tally) -> tuple[int, list[int]]:
    """A layer and two heads of it (or its only one), from 0: peak_pronouns furthest beyond peak_beside."""
    beyond = tally.mean("peak_pronouns") - tally.mean("peak_beside")
    layer, _ = _place(beyond)
    return layer, np.argsort(-beyond[layer], kind="stable")[:2].tolist()


def most_different(tally: Tally) -> tuple[int, list[int], float]:
    """A layer and two heads of it, from 0, whose strongest lines go to the most different places, and how different.

    Half the sum over the relations, `</s>` left out, of the difference of peak_RELATION: at most 1, for two heads that
    put all on one word each. One head has no other: it is given alone, with 0.
    """
    peaks = np.stack([tally.mean(f"peak_{name}") for name in RELATIONS if name != "end"])
    differences = np.abs(peaks[:, :, :, None] - peaks[:, :, None, :]).sum(axis=0) / 2
    layer, one, other = (int(i) for i in np.unravel_index(differences.argmax(), differences.shape))
    return layer, sorted({one, other}), float(differences[layer, one, other])


def _relations(letters: np.ndarray) -> np.ndarray:
    """Boolean [relation, query, key], in the order of RELATIONS."""
    offsets = _offsets(len(letters))
    away, word, letters = np.abs(offsets), np.arange(len(letters) + 1) < len(letters), np.append(letters, False)
    near, far = letters & (away > 1) & (away < FAR), letters & (away >= FAR)
    beside = (word & (offsets == place) for place in (0, 1, -1))
    return np.stack([*beside, near, far, word & ~letters & (away > 1), np.broadcast_to(~word, away.shape)])


def _offsets(words: int) -> np.ndarray:
    """[query, key]: how many words the key stands before the query."""
    return np.arange(words)[:, None] - np.arange(words + 1)


def _strongest_line(weights: np.ndarray, readable: bool, number: int) -> np.ndarray:
    """Of each head: rank, sentence, query, key. [layer, head, query, key] -> [layer, head, 4]."""
    *heads, _, keys = weights.shape
    flat = weights.reshape(*heads, -1)
    place, weight = flat.argmax(axis=-1), flat.max(axis=-1)
    return np.stack([weight + (readable & (weight > 0)), np.full(heads, number), place // keys, place % keys], axis=-1)


def _place(values: np.ndarray) -> tuple[int, int]:
    layer, head = np.unravel_index(values.argmax(), values.shape)
    return int(layer), int(head)
