"""`allyouneed export`: writes another system's form of a bundle, then proves it by translating with both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import read_pairs
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import Speaker, compare, sample_sources
from allyouneed.exchange.argos import argos_translator, export_argos
from allyouneed.exchange.ctranslate2 import ctranslate2_translator, export_ctranslate2
from allyouneed.exchange.marian import export_marian, logit_difference, marian_classes, marian_translator
from allyouneed.translation.evaluate import score
from allyouneed.translation.reference_outputs import say_samples

FORMATS = ("ctranslate2", "marian", "argos")


def export(
    run: Path,
    format: str,
    folder: Path,
    quantization: str | None = None,
    test: Sequence[Path] | None = None,
    print_line: Callable[[str], None] = print,
) -> bool:
    """Exports and reports agreement on the bundle's sample sentences, or on the source side of `test`.

    With `test`, two files or a TSV, BLEU and chrF of both systems too. -> False where fp32 says something else, and it
    is no tie. Errors: `UserError`.
    """
    if format not in FORMATS:
        raise UserError(f"format {format}: choose {', '.join(FORMATS)}.")
    if format == "marian" and quantization:
        raise UserError("quantization is for ctranslate2 and argos; Marian's form is fp32.")
    bundle = load_bundle(run)
    sources, references, named = _sentences(bundle, test)
    theirs = _written(bundle, format, folder, quantization)
    print_line(f"{format} {quantization or 'fp32'}: {folder}")
    print_line(f"compared on {len(sources):,} {named}, without a length penalty:")
    agreements = compare(bundle, theirs, sources)
    for agreement in agreements:
        for line in agreement.lines(listed=not quantization):
            print_line(line)
    if format == "marian":
        words = bundle.tokenizer.target
        targets = [words.decode(words.ids(tokens)) for tokens in say_samples(bundle, sources, 1)]
        print_line(f"largest difference of a logit: {logit_difference(folder, bundle, sources, targets):.1e}")
    if references:
        for line in _scores(bundle, theirs, sources, references):
            print_line(line)
    return bool(quantization) or all(agreement.is_full for agreement in agreements)


def _written(bundle: Bundle, format: str, folder: Path, quantization: str | None) -> Speaker:
    """The exported form, ready to translate."""
    if format == "ctranslate2":
        export_ctranslate2(bundle, folder, quantization)
        return ctranslate2_translator(folder, bundle)
    if format == "argos":
        export_argos(bundle, folder, quantization)
        return argos_translator(folder, bundle)
    marian_classes()  # what cannot be compared is not written
    export_marian(bundle, folder)
    return marian_translator(folder, bundle)


def _sentences(bundle: Bundle, test: Sequence[Path] | None) -> tuple[list[str], list[str], str]:
    """Sources, references (if any) and what they are. Sources that ours would cut into pieces are left out."""
    if not test:
        sources, named = sample_sources(bundle)
        return sources, [sample["reference"] for sample in bundle.samples], named
    count_pairs(test)
    pairs = [pair for pair in read_pairs(test, bundle.config.data.columns) if not pair.fault]
    pairs = [pair for pair in pairs if 0 < len(bundle.tokenizer.encode(pair.source)) < bundle.longest_source]
    if not pairs:
        raise UserError(f"{test[0]}: nothing to compare: no sentence of 1 to {bundle.longest_source - 1} subwords.")
    return [pair.source for pair in pairs], [pair.target for pair in pairs], f"sentences of {test[0].name}"


def _scores(bundle: Bundle, theirs: Speaker, sources: Sequence[str], references: Sequence[str]) -> list[str]:
    """BLEU and chrF of both, with the bundle's own beam and no length penalty, and their difference."""
    beam_size = bundle.config.search.beam_size
    said = {"here": say_samples(bundle, sources, beam_size), "there": theirs(sources, beam_size)}
    words = bundle.tokenizer.target
    scores = {
        place: score([words.decode(words.ids(tokens)) for tokens in translations], references)
        for place, translations in said.items()
    }
    here, there = scores["here"], scores["there"]
    return [
        f"BLEU {here.bleu:.2f} here, {there.bleu:.2f} there ({there.bleu - here.bleu:+.2f})  {here.bleu_signature}",
        f"chrF {here.chrf:.2f} here, {there.chrf:.2f} there ({there.chrf - here.chrf:+.2f})  {here.chrf_signature}",
    ]
