"""`allyouneed export`: converts a bundle to another system's format and compares the translations of both."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from allyouneed import exchange  # lazy: loads a format's module and the other system's package on first use
from allyouneed.bundle import Bundle, load_bundle
from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import TokenTranslator, compare, sample_sources
from allyouneed.exchange.marian_native.decoder import find_marian, marian_native_translator
from allyouneed.suggest import did_you_mean
from allyouneed.translation.directions import directed, needs_target, refuse_without_code
from allyouneed.translation.evaluation.bleu_tokenizers import AUTO, choose_tokenizer
from allyouneed.translation.evaluation.metrics import corpus_scores
from allyouneed.translation.reference_outputs import translate_references

_LONGEST_REASON = 200  # characters
FORMATS = ("ctranslate2", "marian", "marian-native", "argos")


def export_bundle(
    run: Path,
    format: str,
    folder: Path,
    quantization: str | None = None,
    test: Sequence[Path] | None = None,
    print_line: Callable[[str], None] = print,
    target: str | None = None,
) -> bool:
    """Export a bundle and report whether the exported model gives the same translations.

    Args:
        run: A RUN or a bundle.
        format: One of `FORMATS`.
        folder: A new or empty folder.
        quantization: int8, int16 or float16; None for fp32.
        test: Text to compare on, as two files or one TSV file; BLEU and chrF of both systems are then reported too.
            None compares on the bundle's sample sentences.
        print_line: Receives each line of the report.
        target: Target language of the text to compare on, for a multilingual model.

    Returns:
        False if an fp32 export gives different translations other than ties; True if not, or if the other system is
        not installed.

    Raises:
        UserError: If an argument is invalid, the format cannot represent the model, or its package is not installed.
    """
    if format not in FORMATS:
        raise UserError(f"format {format}{did_you_mean(format, FORMATS)} Choose {', '.join(FORMATS)}.")
    if format.startswith("marian") and quantization:
        raise UserError("quantization is for ctranslate2 and argos; the Marian exports are fp32.")
    if target and not test:
        raise UserError("--to is the target language of the text to compare on. Give --test too, or remove --to.")
    if format == "marian-native" and test and not find_marian():
        raise UserError("--test needs Marian to compare with: pip install pymarian, or put marian-decoder on the PATH.")
    bundle = load_bundle(run)
    sources, references, description = _sentences(bundle, test, target)
    translate = _export(bundle, format, folder, quantization)
    print_line(f"{format} {quantization or 'fp32'}: {folder}")
    if translate is None:
        print_line("not compared: neither marian-decoder nor pymarian was found (pip install pymarian)")
        return True
    print_line(f"compared on {len(sources):,} {description}, without a length penalty:")
    agreements = compare(bundle, translate, sources)
    for agreement in agreements:
        for line in agreement.lines(list_differences=not quantization):
            print_line(line)
    if format == "marian":
        print_line(_logit_line(bundle, folder, sources))
    if references:
        language = directed(bundle, target).languages[1] if target or not needs_target(bundle) else None
        for line in _scores(bundle, translate, sources, references, language):
            print_line(line)
    return bool(quantization) or all(agreement.is_complete for agreement in agreements)


def refusal(bundle: Bundle, format: str) -> str | None:
    """Return why a bundle cannot be exported to a format; None if it can.

    Args:
        bundle: The bundle; its weights are not converted.
        format: One of `FORMATS`.
    """
    try:
        getattr(exchange, f"check_{format.replace('-', '_')}")(bundle)
    except UserError as error:
        return str(error)
    return None


def _export(bundle: Bundle, format: str, folder: Path, quantization: str | None) -> TokenTranslator | None:
    """Write the folder and load the exported model; None if the other system is not installed."""
    if format == "ctranslate2":
        exchange.export_ctranslate2(bundle, folder, quantization)
        with _loading(folder):
            return exchange.ctranslate2_translator(folder, bundle)
    if format == "argos":
        exchange.export_argos(bundle, folder, quantization)
        with _loading(folder):
            return exchange.argos_translator(folder, bundle)
    if format == "marian-native":
        exchange.export_marian_native(bundle, folder)
        marian = find_marian()
        return marian_native_translator(folder, bundle, marian) if marian else None
    load = exchange.marian_translator  # raises before anything is written if transformers is not installed
    exchange.export_marian(bundle, folder)
    with _loading(folder):
        return load(folder, bundle)


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Convert the exceptions of other systems when the disk has an error while they load an exported model."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise UserError(
            f"{folder}: written, but it cannot be loaded to compare translations ({reason}). Keep it, check the disk, "
            "then run the same command again."
        ) from error


def _sentences(bundle: Bundle, test: Sequence[Path] | None, target: str | None) -> tuple[list[str], list[str], str]:
    """Return sources with codes of target languages, references and a description, without too long sources."""
    if not test:
        sources, description = sample_sources(bundle)
        return sources, [sample["reference"] for sample in bundle.samples], description
    count_pairs(test)
    one_way = directed(bundle, target) if target or not needs_target(bundle) else bundle
    columns = columns_for(test, bundle.config.data.columns, one_way.languages)
    pairs = [pair for pair in read_pairs(test, columns) if not pair.fault]
    refuse_without_code(one_way, [pair.source for pair in pairs])
    if code := one_way.tokenizer.code:
        pairs = [
            pair if bundle.tokenizer.has_code(pair.source) else pair._replace(source=f"{code} {pair.source}")
            for pair in pairs
        ]
    pairs = [pair for pair in pairs if 0 < len(bundle.tokenizer.encode(pair.source)) < bundle.longest_source]
    if not pairs:
        raise UserError(f"{test[0]}: nothing to compare: no sentence of 1 to {bundle.longest_source - 1} tokens.")
    return [pair.source for pair in pairs], [pair.target for pair in pairs], f"sentences of {test[0].name}"


def _logit_line(bundle: Bundle, folder: Path, sources: Sequence[str]) -> str:
    tokenizer = bundle.tokenizer.target
    targets = [tokenizer.decode(tokenizer.ids(tokens)) for tokens in translate_references(bundle, sources, 1)]
    with _loading(folder):
        difference = exchange.largest_logit_difference(folder, bundle, sources, targets)
    return f"largest logit difference: {difference:.1e}"


def _scores(
    bundle: Bundle,
    translate: TokenTranslator,
    sources: Sequence[str],
    references: Sequence[str],
    language: str | None,
) -> list[str]:
    """Report BLEU and chrF of both systems, with the bundle's beam size and no length penalty."""
    beam_size = bundle.config.search.beam_size
    tokenizer, bleu = bundle.tokenizer.target, choose_tokenizer(AUTO, language, references).name
    ours, theirs = (
        corpus_scores([tokenizer.decode(tokenizer.ids(tokens)) for tokens in translations], references, tokenize=bleu)
        for translations in (translate_references(bundle, sources, beam_size), translate(sources, beam_size))
    )
    return [
        f"BLEU {ours.bleu:.2f} bundle, {theirs.bleu:.2f} export ({theirs.bleu - ours.bleu:+.2f})  "
        f"{ours.bleu_signature}",
        f"chrF {ours.chrf:.2f} bundle, {theirs.chrf:.2f} export ({theirs.chrf - ours.chrf:+.2f})  "
        f"{ours.chrf_signature}",
    ]
