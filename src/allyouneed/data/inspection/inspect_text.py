"""Inspection of the text before training: what no check of a single pair can find.

`dropped.tsv` lists pairs that cannot be used. The inspection looks at the corpus as a whole: whether the sides are
parallel and in their languages, whether characters are garbled, and whether validation pairs are in the training text.
It reads the text once and looks closely at samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import NamedTuple

from allyouneed.config import DataConfig
from allyouneed.data.cleaning.block import CleaningRules, clean_block, cleaning_rules
from allyouneed.data.corpora import Corpus
from allyouneed.data.directions import code_of
from allyouneed.data.files.formats import RawPair, exchange_advice
from allyouneed.data.files.tables import Counted
from allyouneed.data.inspection.alignment import alignment_findings
from allyouneed.data.inspection.findings import Finding, examples_of
from allyouneed.data.inspection.garbled import garbled_findings
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.inspection.sides import side_findings
from allyouneed.languages import primary
from allyouneed.progress import RateLines

_KEPT = 200_000  # pairs of a corpus that are kept, in blocks of consecutive pairs
_BLOCK = 1000
_SAMPLED_LENGTHS = 20_000  # pairs from which the usual ratio of lengths is learned
_EXAMINED_SIDES, _EXAMINED_CHARACTERS = 1500, 4000  # pairs, distributed over the corpus
_FEW_PAIRS = 20  # pairs; fewer do not show whether targets are varied
_VARIED = 0.05  # share of different targets below which they are reported
_REPEATED = 0.5  # share of pairs with a repeated target above which they are reported
_ONE_FOR_ALL = 0.9  # share of pairs with the same target above which it is no label of a classification
_WITHOUT_LETTERS = 0.01
_MIXED = 0.05  # share of lines in the wrong language above which the alignment is not tested
_LETTER = re.compile(r"[^\W\d_]")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+")


class Inspection(NamedTuple):
    """Findings of an inspection.

    Attributes:
        train: Findings of each training corpus.
        valid: Findings of each validation corpus.
        overlap: The validation pairs.
        rules: What the pairs of each training corpus are checked for when it is prepared.
    """

    train: list[list[Finding]]
    valid: list[list[Finding]]
    overlap: ValidationOverlap
    rules: list[CleaningRules]


def inspect_text(
    train: Sequence[Corpus],
    valid: Sequence[Corpus],
    counts: Sequence[int],
    data: DataConfig,
    languages: tuple[str, str],
    say: Callable[[str], None] | None = None,
) -> Inspection:
    """Inspect the training and the validation text.

    Args:
        train: The training text.
        valid: The validation text; empty if pairs of the training text are held out.
        counts: Number of pairs of each training corpus.
        data: Settings.
        languages: Codes of the source and the target language.
        say: Receives a line of progress every 10 seconds.

    Raises:
        UserError: If most pairs have a fault that makes training pointless, unless `data.faults` is "warn", or if a
            check of `data.cleaning` needs a library that is not installed.
    """
    texts = [list(corpus.pairs()) for corpus in valid]
    overlap = ValidationOverlap(
        [each.presented(pair) for each, pairs in zip(valid, texts, strict=True) for pair in pairs]
    )
    in_valid = [_findings(each, pairs, languages, "--valid") for each, pairs in zip(valid, texts, strict=True)]
    in_train, rules, seen = [], [], set()
    counted = RateLines(say, "inspecting the text", sum(counts), "pairs").counted if say else iter
    for corpus, count in zip(train, counts, strict=True):
        pairs = _kept(corpus, count, overlap, counted)
        rules.append(_rules(corpus, pairs, data, languages))
        is_new = corpus.paths not in seen  # a multilingual model may have a corpus in both directions
        in_train.append(_findings(corpus, pairs, languages, "--train", rules[-1].repairs) if is_new else [])
        seen.add(corpus.paths)
    if not data.drop_overlap and valid:
        in_valid[0] += overlap.findings()
    if data.faults == "refuse":
        for corpora, found_in in ((train, in_train), (valid, in_valid)):
            for corpus, found in zip(corpora, found_in, strict=True):
                for finding in found:
                    finding.check(str(corpus))
    return Inspection(in_train, in_valid, overlap, rules)


def _rules(corpus: Corpus, pairs: Sequence[RawPair], data: DataConfig, languages: tuple[str, str]) -> CleaningRules:
    """Return what the pairs of a corpus are checked for, in its direction."""
    sample = [corpus.presented(pair) for pair in pairs[:: max(1, len(pairs) // _SAMPLED_LENGTHS)]]
    prefix = f"{code_of(corpus.direction[1])} " if corpus.direction else ""
    return cleaning_rules(data, corpus.direction or languages, sample, prefix)


def corpus_findings(
    pairs: Sequence[RawPair], languages: tuple[str, str], exchange: str, repairs: CleaningRules | None = None
) -> list[Finding]:
    """Report what is wrong with a corpus.

    Args:
        pairs: Pairs of the corpus, in its order.
        languages: Codes of the source and the target language.
        exchange: What to do if the sides are exchanged, as a sentence.
        repairs: Repairs that the pairs get before training; what they mend is not reported.
    """
    usable = [pair for pair in pairs if not pair.fault and pair.source and pair.target]
    if not usable:
        return []
    few, more = (usable[:: max(1, len(usable) // count)] for count in (_EXAMINED_SIDES, _EXAMINED_CHARACTERS))
    if repairs and repairs.checks:
        few, more = (clean_block(pairs, repairs).pairs for pairs in (few, more))
    garbled = garbled_findings(more, [primary(code) for code in languages])
    sides = side_findings(few, languages, exchange)
    findings = [*garbled, *_variety_findings(more), *sides]
    # Lines in the wrong language resemble their neighbours in that language more than their translations.
    if not any(each.refused and each.count > _MIXED * each.of for each in sides):
        findings += alignment_findings(pairs)
    return findings


def _findings(
    corpus: Corpus,
    pairs: Sequence[RawPair],
    languages: tuple[str, str],
    option: str,
    repairs: CleaningRules | None = None,
) -> list[Finding]:
    exchange = exchange_advice(corpus.paths, corpus.columns, option)
    return corpus_findings(pairs, corpus.file_languages or languages, exchange, repairs)


def _kept(corpus: Corpus, count: int, overlap: ValidationOverlap, counted: Counted) -> list[RawPair]:
    """Read a corpus, count its overlap with the validation text, and keep blocks of consecutive pairs."""
    every = max(1, ceil(count / _KEPT))
    kept = []
    for index, pair in enumerate(counted(corpus.pairs())):
        if overlap.valid:
            overlap.add(corpus.presented(pair))
        if index // _BLOCK % every == 0:
            kept.append(pair)
    return kept


def _variety_findings(pairs: Sequence[RawPair]) -> Iterator[Finding]:
    """Report sides that hardly vary, and pairs without letters."""
    different = {(pair.source, pair.target): pair for pair in pairs}
    total = len(different)
    if total >= _FEW_PAIRS:
        for side, name, other in ((0, "source", "target"), (1, "target", "source")):
            texts = Counter(pair[side] for pair in different)
            text, most = texts.most_common(1)[0]
            if most > (total / 2 if len(texts) >= _VARIED * total else _ONE_FOR_ALL * total):
                affected = [pair for pair in pairs if text == (pair.source, pair.target)[side]]
                fault, remedy = f"the {name} is the same, {text[:40]!r}", "Check the columns and the files."
                yield Finding(fault, len(affected), len(pairs), examples_of(affected), remedy)
            elif len(texts) < _VARIED * total or total - len(texts) > _REPEATED * total:
                fault = f"the {name} occurs with several different {other}s; there are {len(texts):,} different {name}s"
                repeated = [pair for pair in pairs if texts[(pair.source, pair.target)[side]] > 1]
                yield Finding(fault, len(repeated), len(pairs), examples_of(repeated), refused=False)
    bare = [pair for pair in pairs if _is_bare(pair.source) and _is_bare(pair.target)]
    if len(bare) > _WITHOUT_LETTERS * len(pairs):
        fault = "no letters on either side (numbers, punctuation or addresses)"
        yield Finding(fault, len(bare), len(pairs), examples_of(bare), refused=False)


def _is_bare(text: str) -> bool:
    return not _LETTER.search(text) or ("." in text and not _LETTER.search(_ADDRESS.sub("", text)))
