"""Import of a translation model of fairseq."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allyouneed.bundle import Bundle, save_bundle
from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.fairseq.dictionary import imported_vocabulary, merge_dictionaries, read_dictionary
from allyouneed.exchange.fairseq.model_files import ModelFiles, language_of, open_model_files
from allyouneed.exchange.fairseq.settings import STAND_INS, Settings, read_settings
from allyouneed.exchange.fairseq.weights import convert_weights
from allyouneed.exchange.imported_bundle import make_bundle
from allyouneed.exchange.imported_vocabulary import ImportedVocabulary
from allyouneed.exchange.model_languages import model_languages
from allyouneed.exchange.pickles import read_checkpoint, read_weights

_ESCAPED = ("&apos;", "&quot;", "&amp;", "&#124;", "&#91;", "&apos;s", "&lt;")  # what Moses makes of ' " & | [ <
_DASH = "@-@"


def import_fairseq(paths: Sequence[Path], run: Path, languages: tuple[str, str] | None = None) -> Bundle:
    """Write `run/bundle` from a model of fairseq.

    Args:
        paths: A folder, an archive, or a checkpoint, the dictionaries of source and target (or one for both), and BPE
            codes or SentencePiece models (one for both sides, or for source and target).
        run: Folder of the new RUN.
        languages: Codes of source and target; None reads them from the checkpoint or the dictionaries' names.

    Returns:
        The new bundle.

    Raises:
        UserError: If a file is missing, damaged or not what its name says, or the model cannot be represented.
    """
    with open_model_files(paths) as files:
        path = files.checkpoints[0]
        checkpoint = read_checkpoint(path, STAND_INS)
        settings = read_settings(path, checkpoint)
        tensors = read_weights(path, checkpoint["model"])
        dictionaries = files.ordered_dictionaries(settings.text("source_lang"), settings.text("target_lang"))
        named = [settings.text(f"{side}_lang") for side in ("source", "target")]
        named = [name or language_of(dictionary) for name, dictionary in zip(named, dictionaries, strict=True)]
        codes = model_languages(languages, named[0], named[1], path)
        vocabularies = _vocabularies(settings, *dictionaries)
        try:
            converted = convert_weights(settings, tensors, vocabularies)
        except (IndexError, RuntimeError, ValueError) as error:  # tensors whose shapes do not fit together
            reason = str(error).split("\n", 1)[0][:200]
            raise UserError(f"{path}: its tensors do not fit together ({reason}). Get the file again.") from error
        segmenters = _segmenters(files, settings, vocabularies, codes)
        tokenizer = _tokenizer(segmenters, vocabularies)
        bundle = make_bundle(path, "fairseq", files.used, converted, tokenizer, codes)
        bundle.notes["remarks"] = _remarks(files, segmenters)
    save_bundle(bundle, run / "bundle")
    return bundle


def _vocabularies(settings: Settings, source: Path, target: Path) -> tuple[ImportedVocabulary, ImportedVocabulary]:
    names = [read_dictionary(source), read_dictionary(target)]
    if settings.is_set("merge_src_tgt_embed"):
        names = [merge_dictionaries(*names)] * 2
    if settings.is_set("share_all_embeddings") and names[0] != names[1]:
        raise UserError(
            f"{target}: differs from {source.name}, but share_all_embeddings is set. Give the dictionaries that the "
            "model was trained with."
        )
    return imported_vocabulary(names[0]), imported_vocabulary(names[1])


def _segmenters(
    files: ModelFiles,
    settings: Settings,
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary],
    languages: tuple[str, str],
) -> tuple[Segmenter, Segmenter]:
    both = files.codes or files.sentencepiece
    models = [both[0], both[-1]] if both else [None, None]
    found: list[Segmenter] = []
    for model, vocabulary, language in zip(models, vocabularies, languages, strict=True):
        moses = _moses(settings, vocabulary, language)
        if model is None:
            found.append(SpaceSegmenter())
            continue
        try:
            content = model.read_bytes()
            found.append(BpeSegmenter(content, moses=moses) if files.codes else SentencePieceSegmenter(content))
        except (OSError, ValueError, RuntimeError) as error:
            kind = "BPE codes of subword-nmt or fastBPE" if files.codes else "a SentencePiece model"
            raise UserError(f"{model}: not {kind} ({error}).") from error
    return found[0], found[1]


def _moses(settings: Settings, vocabulary: ImportedVocabulary, language: str) -> Moses | None:
    """Return the Moses tokenizer if the checkpoint names it, or the dictionary has tokens that only it produces."""
    names = set(vocabulary.vocabulary.names)
    escapes = any(name in names or f"{name}@@" in names for name in _ESCAPED)
    dashes = _DASH in names
    if settings.get("tokenizer") != "moses" and not escapes and not dashes:
        return None
    return Moses(language.split("-")[0], escapes, dashes)


def _tokenizer(
    segmenters: tuple[Segmenter, Segmenter], vocabularies: tuple[ImportedVocabulary, ImportedVocabulary]
) -> VocabularyTokenizer:
    source, target = (each.vocabulary for each in vocabularies)
    target_tokenizer = VocabularyTokenizer(segmenters[1], target)
    is_one = source == target and segmenters[0].model == segmenters[1].model
    if is_one and segmenters[0].settings() == segmenters[1].settings():
        return target_tokenizer
    return VocabularyTokenizer(segmenters[0], source, target_tokenizer)


def _remarks(files: ModelFiles, segmenters: tuple[Segmenter, Segmenter]) -> str:
    """Return what the user has to know about the import."""
    first, *others = [path.name for path in files.checkpoints]
    remarks = []
    if others:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        remarks.append(
            f"{first} was imported, one of {len(others) + 1} checkpoints ({named}). Import each to a RUN of its own to "
            "translate with all of them as an ensemble."
        )
    kinds = {
        "space": "No file that segments text was given: text in and out is tokens separated by spaces.",
        "bpe": "Text is segmented by BPE codes",
        "sentencepiece": "Text is segmented by SentencePiece.",
    }
    moses = " after the Moses tokenizer." if segmenters[0].settings().get("moses") else "."
    kind = segmenters[0].kind
    remarks.append(kinds[kind] + (moses if kind == "bpe" else ""))
    return " ".join(remarks)
