"""The proof of an export: the same sentences through both systems, compared subword by subword."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from allyouneed.bundle import Bundle
from allyouneed.data.tokenizer import BOS, EOS
from allyouneed.translation.reference_outputs import BEAM_SIZES, say_samples
from allyouneed.translation.scoring import score_ids
from allyouneed.translation.search import NEVER_SAID
from allyouneed.translation.translator import Translator

Speaker = Callable[[Sequence[str], int], list[list[str]]]  # (texts, beam_size) -> subwords of each translation

_TIE = 1e-3  # nats: rounding is larger than so small a difference of log probabilities
_MADE_UP, _MADE_UP_LENGTH = 20, 8


@dataclass(frozen=True)
class Difference:
    """One sentence on which they differ. gain: by how much ours is likelier than theirs, in nats, by our model."""

    source: str
    ours: str
    theirs: str
    gain: float

    @property
    def is_tie(self) -> bool:
        """Whether both are as likely, to rounding."""
        return abs(self.gain) < _TIE


@dataclass(frozen=True)
class Agreement:
    """Of one beam size. limited: translations that did not end before our longest length, which is another there; of
    greedy search only those that are the same up to there."""

    beam_size: int
    sentences: int
    limited: int
    differences: list[Difference]

    @property
    def is_full(self) -> bool:
        """Whether nothing differs but ties and what never ends."""
        return all(difference.is_tie for difference in self.differences)

    def lines(self, listed: bool = True) -> list[str]:
        """What to say; listed: every difference too."""
        same = self.sentences - self.limited - len(self.differences)
        ties = sum(difference.is_tie for difference in self.differences)
        said = f"beam {self.beam_size}: {same:,} of {self.sentences:,} sentences the same, subword by subword"
        if self.limited:
            said += f"; {self.limited:,} that do not end before our longest length"
            said += ", the same up to there" if self.beam_size == 1 else ""
        if self.differences:
            said += f"; {ties:,} ties, {len(self.differences) - ties:,} other differences"
        each = (
            f"  {'tie' if d.is_tie else 'differs'} ({d.gain:+.4f} nats): {d.source} → {d.ours} | {d.theirs}"
            for d in self.differences
        )
        return [said, *(each if listed else ())]


def sample_sources(bundle: Bundle) -> tuple[list[str], str]:
    """The stored sentences, or ones made up from the vocabulary where there are none; and what they are, for people."""
    if bundle.samples:
        return [sample["source"] for sample in bundle.samples], "stored sample sentences"
    rng, tokenizer = random.Random(1), bundle.tokenizer
    ids = range(len(NEVER_SAID) + 1, len(tokenizer))
    texts = (tokenizer.decode(rng.choices(ids, k=_MADE_UP_LENGTH)) for _ in range(_MADE_UP))
    return [text for text in texts if text.strip()], "sentences made up from the vocabulary (the bundle has no samples)"


def compare(bundle: Bundle, theirs: Speaker, sources: Sequence[str]) -> list[Agreement]:
    """Both systems on the same sentences, with every beam size of the samples and without a length penalty."""
    return [_compare(bundle, theirs, sources, beam_size) for beam_size in BEAM_SIZES]


def _compare(bundle: Bundle, theirs: Speaker, sources: Sequence[str], beam_size: int) -> Agreement:
    limited, differences, translator = 0, [], Translator(bundle)
    both = zip(sources, say_samples(bundle, sources, beam_size), theirs(sources, beam_size), strict=True)
    for source, ours, other in both:
        cut = len(ours) >= len(bundle.tokenizer.encode(source)) + bundle.config.search.max_extra_length
        if cut and (beam_size > 1 or other[: len(ours)] == ours):
            limited += 1
        elif ours != other:
            gain = _log_probability(translator, source, ours) - _log_probability(translator, source, other)
            differences.append(Difference(source, " ".join(ours), " ".join(other), gain))
    return Agreement(beam_size, len(sources), limited, differences)


def _log_probability(translator: Translator, source: str, pieces: Sequence[str]) -> float:
    """Of a translation given as subwords, its end included, in nats."""
    words = translator.tokenizer
    source_ids, target_ids = [*words.encode(source), EOS], [BOS, *words.target.ids(pieces), EOS]
    [log_probs] = score_ids(translator, [source_ids], [target_ids])
    return sum(log_probs)
