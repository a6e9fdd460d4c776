"""Transforms of text in OpenNMT-py and Eole, whose models name those of training: which of them translation repeats."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from allyouneed.data.tokens.segmenters import BpeSegmenter, SentencePieceSegmenter
from allyouneed.errors import UserError
from allyouneed.exchange.reading.segmenter_files import Segmenters, read_segmenters

_TRAINING = {  # transforms that select texts, add noise to some of them, or join several
    *("filtertoolong", "filtertooshort", "clean", "bart", "switchout", "tokendrop", "tokenmask", "uppercase"),
    *("fuzzymatch", "inlinetags", "terminology", "docify", "insert_mask_before_placeholder"),
}
_KINDS = {"sentencepiece": SentencePieceSegmenter.kind, "bpe": BpeSegmenter.kind, "onmt_tokenize": "sentencepiece"}
_AFFIXES = ("src_prefix", "tgt_prefix", "src_suffix", "tgt_suffix")
_SIDES = ("src", "tgt")
_LONGEST = 1000  # characters of options that are written as a Python dictionary


class Transforms(NamedTuple):
    """The transforms of a model that translation repeats.

    Attributes:
        path: The file that names them, for messages.
        name: The transform that divides text into subwords; empty if there is none.
        models: Files of the subword models of source and target, as the transform names them.
    """

    path: Path
    name: str
    models: tuple[str, str]

    def read(self, paths: Sequence[Path]) -> Segmenters:
        """Read the subword models.

        Args:
            paths: One for both sides, one for each, or none if texts are tokens separated by spaces.

        Raises:
            UserError: If a file is something else than the transform used, or one of two is missing.
        """
        found = read_segmenters(paths)
        for path, segmenter in zip((*paths, *paths)[:2], found, strict=False):
            if self.name and segmenter.kind != _KINDS[self.name]:
                raise UserError(
                    f"{path}: of the kind {segmenter.kind}, but {self.path} was trained with the transform {self.name} "
                    f"of {' and '.join(dict.fromkeys(self.models))}. Give those files."
                )
        if len(paths) == 1 and self.models[0] != self.models[1]:
            raise UserError(
                f"{self.path}: source and target have different subword models, {' and '.join(self.models)}. Give both."
            )
        return found

    def missing(self, paths: Sequence[Path]) -> str:
        """Return a sentence about the subword models that the user did not give, if the model was trained with any."""
        if paths or not self.name:
            return ""
        files = " and ".join(dict.fromkeys(self.models))
        return f"The model was trained with the transform {self.name} of {files}: give those files to translate text."


def read_transforms(path: Path, content: Mapping[str, Any], options: Mapping[str, Any]) -> Transforms:
    """Find how text is divided into tokens.

    Args:
        path: The file that names the transforms, for messages.
        content: The settings `transforms`, `data` and `share_vocab`.
        options: Options of all transforms.

    Raises:
        UserError: If a transform changes the text of translations in a way that is not supported.
    """
    names, corpora = transform_names(path, content), _corpora(content)
    unknown = sorted(names - _TRAINING - {*_KINDS, "prefix", "suffix"})
    subwords = sorted(names & _KINDS.keys())
    if unknown:
        raise UserError(
            f"{path}: the transform {unknown[0][:40]} of the text is not supported. The model cannot be imported."
        )
    if len(subwords) > 1:
        raise UserError(f"{path}: texts have different transforms, {' and '.join(subwords)}; one is supported.")
    affixes = [holder.get(name) for holder in (options, *corpora) for name in _AFFIXES]
    if names & {"prefix", "suffix"} and any(affixes):
        text = str(next(filter(None, affixes)))[:40]
        raise UserError(f"{path}: a transform adds {text!r} to each text, which is not supported.")
    if not subwords:
        return Transforms(path, "", ("", ""))
    for side in _SIDES:
        if options.get(f"{side}_subword_vocab") and options.get(f"{side}_vocab_threshold"):
            raise UserError(f"{path}: {side}_vocab_threshold of the transform {subwords[0]} is not supported, only 0.")
    if subwords[0] == "onmt_tokenize":
        _check_tokenizer(path, options)
    models = [str(options.get(f"{side}_subword_model") or "") for side in _SIDES]
    is_one = bool(content.get("share_vocab"))  # then these systems use the source's model for both sides
    return Transforms(path, subwords[0], (models[0], models[0] if is_one else models[1]))


def transform_names(path: Path, content: Mapping[str, Any]) -> set[str]:
    """Return the names of all transforms that any text of training had.

    Raises:
        UserError: If they are not a list.
    """
    return {name for holder in (content, *_corpora(content)) for name in _names(path, holder)}


def _corpora(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    corpora = content.get("data")
    return [each for each in corpora.values() if isinstance(each, Mapping)] if isinstance(corpora, Mapping) else []


def _names(path: Path, holder: Mapping[str, Any]) -> Iterator[str]:
    for setting in ("transforms", "_all_transform"):
        names = holder.get(setting) or ()
        if not isinstance(names, list | tuple | set | frozenset):
            raise UserError(f"{path}: {setting} is not a list. Get the whole model again.")
        yield from map(str, names)


def _check_tokenizer(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse the OpenNMT Tokenizer unless it does what SentencePiece does."""
    kinds = [options.get(f"{side}_subword_type", "none") for side in _SIDES]
    modes = [_dictionary(options.get(f"{side}_onmttok_kwargs", {"mode": "none"})) for side in _SIDES]
    others = options.get("gpt2_pretok") or options.get("mapped_tokens")
    if kinds != ["sentencepiece"] * 2 or modes != [{"mode": "none"}] * 2 or others:
        raise UserError(
            f"{path}: the transform onmt_tokenize is supported only with subword_type sentencepiece and onmttok_kwargs "
            "{'mode': 'none'} on both sides. The model cannot be imported."
        )


def _dictionary(options: object) -> object:
    """Read options that OpenNMT-py stores as the text of a Python dictionary."""
    if not isinstance(options, str) or len(options) > _LONGEST:
        return options
    try:
        return ast.literal_eval(options)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return options
