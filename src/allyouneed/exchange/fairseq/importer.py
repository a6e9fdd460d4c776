"""Import of a translation model of fairseq."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allyouneed.bundle import Bundle
from allyouneed.data.tokens.segmenters import Segmenter
from allyouneed.errors import UserError
from allyouneed.exchange.fairseq.dictionary import imported_vocabulary, merge_dictionaries, read_dictionary
from allyouneed.exchange.fairseq.model_files import ModelFiles, language_of, open_model_files
from allyouneed.exchange.fairseq.settings import STAND_INS, Settings, read_settings
from allyouneed.exchange.fairseq.weights import convert_weights
from allyouneed.exchange.reading.imported_bundle import make_bundle
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.pickles import read_checkpoint, read_weights
from allyouneed.exchange.reading.segmentation import describe_segmenters, find_moses, make_tokenizer
from allyouneed.exchange.reading.segmenter_files import read_segmenters
from allyouneed.exchange.reading.stored_weights import shapes_checked


def read_fairseq(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a model of fairseq.

    Args:
        paths: A folder, an archive, or a checkpoint, the dictionaries of source and target (or one for both), and BPE
            codes or SentencePiece models (one for both sides, or for source and target).
        languages: Codes of source and target; None reads them from the checkpoint or the dictionaries' names.

    Returns:
        The bundle.

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
        with shapes_checked(path):
            converted = convert_weights(settings, tensors, vocabularies)
        moses = find_moses(vocabularies, codes, settings.get("tokenizer") == "moses")
        segmenters = read_segmenters(files.codes or files.sentencepiece, moses)
        tokenizer = make_tokenizer(segmenters, vocabularies)
        bundle = make_bundle(path, "fairseq", files.used, converted, tokenizer, codes)
        bundle.notes["remarks"] = _remarks(files, segmenters)
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
    return " ".join([*remarks, describe_segmenters(segmenters)])
