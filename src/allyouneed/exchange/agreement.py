"""Verification of an export: both systems translate the same sentences, and the tokens are compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias

from allyouneed.bundle import Bundle
from allyouneed.data.directions import code_of, targets_of
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.translation.reference_outputs import BEAM_SIZES, translate_references
from allyouneed.translation.scoring import score_ids
from allyouneed.translation.search import NEVER_GENERATED
from allyouneed.translation.translator import Translator

TokenTranslator: TypeAlias = Callable[[Sequence[str], int], list[list[str]]]  # (texts, beam_size) -> target tokens

_TIE = 1e-3  # nats: a smaller difference of log probabilities may be due to rounding
_RANDOM_SENTENCES, _RANDOM_LENGTH = 20, 8


@dataclass(frozen=True)
class Difference:
    """A sentence that the two systems translate differently.

    Attributes:
        source: The source sentence.
        translation: Tokens of the bundle's translation, separated by spaces.
        exported: Tokens of the exported model's translation, separated by spaces.
        gain: Log probability of `translation` minus that of `exported` under the bundle's model, in nats.
    """

    source: str
    translation: str
    exported: str
    gain: float

    @property
    def is_tie(self) -> bool:
        """Whether both translations are equally probable up to rounding."""
        return abs(self.gain) < _TIE


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison with one beam size.

    Attributes:
        beam_size: Beam size that both systems used.
        sentences: Number of sentences compared.
        truncated: Number of translations that reached the bundle's maximum length, which differs from the exported
            model's. With greedy search, counted only if the tokens are identical up to that length.
        differences: Sentences with different translations.
    """

    beam_size: int
    sentences: int
    truncated: int
    differences: list[Difference]

    @property
    def is_complete(self) -> bool:
        """Whether all differences are ties."""
        return all(difference.is_tie for difference in self.differences)

    def lines(self, list_differences: bool = True) -> list[str]:
        """Return the lines of the report; with `list_differences`, one line per difference is included."""
        same = self.sentences - self.truncated - len(self.differences)
        ties = sum(difference.is_tie for difference in self.differences)
        summary = f"beam {self.beam_size}: {same:,} of {self.sentences:,} translations identical"
        if self.truncated:
            summary += f"; {self.truncated:,} truncated at the maximum length"
            summary += ", identical up to there" if self.beam_size == 1 else ""
        if self.differences:
            summary += f"; {ties:,} ties, {len(self.differences) - ties:,} other differences"
        details = (
            f"  {'tie' if d.is_tie else 'differs'} ({d.gain:+.4f} nats): {d.source} → {d.translation} | {d.exported}"
            for d in self.differences
        )
        return [summary, *(details if list_differences else ())]


def sample_sources(bundle: Bundle) -> tuple[list[str], str]:
    """Choose sentences to compare two systems on.

    Args:
        bundle: The bundle.

    Returns:
        The sources of the bundle's samples, or decoded random tokens if it has none, and a description of them.
    """
    if bundle.samples:
        return [sample["source"] for sample in bundle.samples], "sample sentences of the bundle"
    rng, tokenizer = random.Random(1), bundle.tokenizer
    ids = range(len(NEVER_GENERATED) + 1, len(tokenizer))
    words = [i for i in ids if tokenizer.pieces([i])[0].strip("▁").isalpha()]  # other text is partly protected
    length = max(1, min(_RANDOM_LENGTH, bundle.longest_source - 3))  # longer text is translated in parts
    texts = (tokenizer.decode(rng.choices(words or ids, k=length)) for _ in range(_RANDOM_SENTENCES))
    codes = cycle([f"{code_of(target)} " for target in targets_of(bundle.directions)] or [""])
    return [
        code + text for code, text in zip(codes, texts, strict=False) if text.strip()
    ], "random token sequences (the bundle has no samples)"


def compare(bundle: Bundle, translate: TokenTranslator, sources: Sequence[str]) -> list[Agreement]:
    """Compare an exported model with its bundle.

    Neither system applies a length penalty, since their formulas differ.

    Args:
        bundle: The exported bundle.
        translate: The exported model.
        sources: Sentences to translate with both.

    Returns:
        One result per beam size in `BEAM_SIZES`.
    """
    return [_compare(bundle, translate, sources, beam_size) for beam_size in BEAM_SIZES]


def _compare(bundle: Bundle, translate: TokenTranslator, sources: Sequence[str], beam_size: int) -> Agreement:
    truncated, differences, translator = 0, [], Translator(bundle)
    translations = zip(
        sources, translate_references(bundle, sources, beam_size), translate(sources, beam_size), strict=True
    )
    for source, translation, exported in translations:
        max_length = len(bundle.tokenizer.encode(source)) + bundle.config.search.max_extra_length
        common = min(len(translation), len(exported))
        if len(translation) >= max_length and (beam_size > 1 or translation[:common] == exported[:common]):
            truncated += 1
        elif translation != exported:
            gain = _log_probability(translator, source, translation) - _log_probability(translator, source, exported)
            differences.append(Difference(source, " ".join(translation), " ".join(exported), gain))
    return Agreement(beam_size, len(sources), truncated, differences)


def _log_probability(translator: Translator, source: str, target_tokens: Sequence[str]) -> float:
    tokenizer = translator.tokenizer
    source_ids, target_ids = [*tokenizer.encode(source), EOS], [BOS, *tokenizer.target.ids(target_tokens), EOS]
    [log_probs] = score_ids(translator, [source_ids], [target_ids])
    return sum(log_probs)
