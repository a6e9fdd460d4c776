"""Settings of a model of Joey NMT: its config.yaml, whose values are text here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allyouneed.data.tokens.character_segmenter import CharacterSegmenter
from allyouneed.data.tokens.normalizing_segmenter import NormalizingSegmenter, TextRules
from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.sentencepiece_model import read_model
from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.segmenter_files import Segmenters, read_segmenter
from allyouneed.exchange.reading.yaml_text import read_yaml
from allyouneed.untrusted import cannot_read, read_regular

CONFIG = "config.yaml"
EPSILON = 1e-6  # of all layer norms
_LARGEST, _LARGEST_NUMBER = 1 << 24, 1 << 31  # bytes; of a setting
_REMEDY = "Give the folder that `joeynmt train` wrote."
_ACTIVATIONS = ("relu", "gelu", "swish")
_SYMBOLS = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
_HEADS, _NORMS = {"encoder": 4, "decoder": 8}, {"encoder": "pre", "decoder": "post"}  # Joey NMT's defaults
_SPECIAL_TOKENS = 4  # at the beginning of a vocabulary
_TOKENIZERS = {"sentencepiece": "model_file", "subword-nmt": "codes"}
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off", "null", "~", "")


@dataclass
class JoeyConfig:
    """The parts of config.yaml that translation depends on.

    Attributes:
        folder: Folder of the model.
        content: The whole file.
        sides: Sections of source and target by name: "src", "trg".
        stacks: Sections of encoder and decoder by name.
    """

    folder: Path
    content: dict[str, Any]
    sides: dict[str, dict[str, Any]]
    stacks: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> JoeyConfig:
        """Read the file of a folder.

        Raises:
            UserError: If it is missing, damaged, or lacks a section.
        """
        path = folder / CONFIG
        try:
            text = read_regular(path, _LARGEST).decode("utf-8")
        except OSError as error:
            raise cannot_read(path, error, _REMEDY) from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not text in UTF-8. {_REMEDY}") from error
        config = cls(folder, read_yaml(text, str(path)), {}, {})
        data, model = config.section(config.content, "data"), config.section(config.content, "model")
        config.sides = {name: config.section(data, name) for name in ("src", "trg")}
        config.stacks = {name: config.section(model, name) for name in ("encoder", "decoder")}
        return config

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / CONFIG

    def section(self, parent: dict[str, Any], name: str) -> dict[str, Any]:
        """Return a section of a section.

        Raises:
            UserError: If there is none.
        """
        found = parent.get(name)
        if not isinstance(found, dict):
            raise UserError(f"{self.path}: has no section {name}. {_REMEDY}")
        return found

    def text(self, section: dict[str, Any], name: str, usual: str, allowed: tuple[str, ...] = ()) -> str:
        """Return a setting in lower case.

        Raises:
            UserError: If it is not a text, or not one of `allowed`.
        """
        value = section.get(name, usual)
        if not isinstance(value, str) or (allowed and value.lower() not in allowed):
            raise self.refusal(name, value, ", ".join(allowed) or "a text")
        return value.lower()

    def truth(self, section: dict[str, Any], name: str) -> bool:
        """Return a setting that is false by default.

        Raises:
            UserError: If it is neither true nor false.
        """
        return self.text(section, name, "false", (*_TRUE, *_FALSE)) in _TRUE

    def number(self, section: dict[str, Any], name: str, usual: float) -> float:
        """Return a number.

        Raises:
            UserError: If it is not one.
        """
        try:
            number = float(section.get(name, usual))
        except (TypeError, ValueError):
            number = math.nan
        if not abs(number) <= _LARGEST_NUMBER:
            raise self.refusal(name, section.get(name), "a number")
        return number

    def refusal(self, name: str, value: object, known: str) -> UserError:
        """Return the error for a setting that cannot be imported."""
        return UserError(f"{self.path}: {name} = {str(value)[:80]} is not supported, only {known}.")

    def find(self, side: dict[str, Any], name: str, copied: str = "") -> Path:
        """Return a file of a side: Joey NMT's copy in the folder, or else the file that the setting names.

        Raises:
            UserError: If neither exists.
        """
        named = side.get(name)
        candidates = [copied] if copied else []
        candidates += [Path(named).name] if isinstance(named, str) and named else []
        for candidate in candidates:
            if (self.folder / candidate).is_file():
                return self.folder / candidate
        raise UserError(f"{self.folder}: has no {' and no '.join(candidates) or name}. Copy it into the folder.")

    def languages(self, given: tuple[str, str] | None) -> tuple[str, str]:
        """Return the codes of source and target; see `model_languages`."""
        source, target = (side.get("lang") for side in self.sides.values())
        return model_languages(given, source, target, self.path)

    def symbols(self) -> dict[str, str]:
        """Return the special symbols by their setting.

        Raises:
            UserError: If there are symbols of prompts or languages, which are not supported.
        """
        section = self.content["data"].get("special_symbols") or {}
        if not isinstance(section, dict):
            raise self.refusal("special_symbols", section, "names and texts")
        for name in ("sep_token", "lang_tags"):
            if section.get(name) not in (None, [], *_FALSE):
                raise self.refusal(name, section[name], "none: prompts and tags of languages are not read")
        for number, name in enumerate(("unk_id", "pad_id", "bos_id", "eos_id")):
            if self.number(section, name, number) != number:
                raise self.refusal(name, section[name], str(number))
        names = {name: section.get(name, usual) for name, usual in _SYMBOLS.items()}
        if not all(isinstance(value, str) and value for value in names.values()) or len(set(names.values())) < len(
            names
        ):
            raise self.refusal("special_symbols", section, "four different texts")
        return names

    def scaled(self) -> tuple[bool, bool]:
        """Return whether the embeddings of source and target are multiplied by √d_model."""
        source, target = (self.section(stack, "embeddings") for stack in self.stacks.values())
        both = self.truth(self.content["model"], "tied_embeddings")  # then Joey NMT has one object for both
        return self.truth(source, "scale"), self.truth(source if both else target, "scale")

    def model_settings(self) -> tuple[dict[str, Any], float]:
        """Return settings of the section `model` that tensors do not show, and the factor of the residuals.

        Raises:
            UserError: If a setting is not supported, or encoder and decoder differ where a `Transformer` cannot.
        """
        found: dict[str, list[Any]] = {"layer_norm": [], "activation": [], "alpha": []}
        heads = []
        for name, stack in self.stacks.items():
            self.text(stack, "type", "recurrent" if name == "encoder" else "transformer", ("transformer",))
            found["layer_norm"].append(self.text(stack, "layer_norm", _NORMS[name], ("pre", "post")))
            found["activation"].append(self.text(stack, "activation", "relu", _ACTIVATIONS))
            found["alpha"].append(self.number(stack, "alpha", 1.0))
            heads.append(int(self.number(stack, "num_heads", _HEADS[name])))
        for name, (encoder, decoder) in found.items():
            if encoder != decoder:
                raise UserError(
                    f"{self.path}: {name} is {encoder} in the encoder and {decoder} in the decoder. This package's "
                    "Transformer has one for both; the model cannot be imported."
                )
        norm, alpha = found["layer_norm"][0], found["alpha"][0]
        if not (alpha == 1 or (norm == "post" and 0 < alpha < 1000)):
            raise self.refusal("alpha", alpha, "1, or with layer_norm = post a positive number")
        settings = {
            "norm": norm,
            "activation": found["activation"][0],
            "num_heads": heads[0],
            "norm_epsilon": EPSILON / alpha**2,
            **({"decoder_heads": heads[1]} if heads[1] != heads[0] else {}),
        }
        return settings, alpha

    def search_settings(self) -> dict[str, Any]:
        """Return the settings of search: the width of the beam, and its length penalty, the same formula as here."""
        testing = self.content.get("testing")
        if not isinstance(testing, dict):
            return {}
        penalty = self.number(testing, "beam_alpha", self.number(testing, "alpha", -1))
        return {"beam_size": int(self.number(testing, "beam_size", 1)), "length_penalty": max(0.0, penalty)}

    def segmentation(self, vocabularies: Sequence[ImportedVocabulary]) -> tuple[Segmenters, list[Path]]:
        """Return the segmenters of source and target, and their files.

        Args:
            vocabularies: Of source and target; Joey NMT produces no subword that is not in them.

        Raises:
            UserError: If a tokenizer is not supported, or its file is missing.
        """
        found, files = list[Segmenter](), list[Path]()
        for side, vocabulary in zip(self.sides.values(), vocabularies, strict=True):
            segmenter, path = self._segmenter(side, vocabulary.vocabulary.names[_SPECIAL_TOKENS:])
            found.append(segmenter)
            files += [path] if path else []
        return (found[0], found[1]), files

    def _segmenter(self, side: dict[str, Any], names: Sequence[str]) -> tuple[Segmenter, Path | None]:
        options = side.get("tokenizer_cfg") or {}
        if not isinstance(options, dict):
            raise self.refusal("tokenizer_cfg", options, "names and values")
        moses = None
        if self.text(options, "pretokenizer", "none", ("none", "moses")) == "moses":
            if self.truth(side, "normalize"):
                raise self.refusal("normalize", "true with pretokenizer = moses", "one of them")
            moses = Moses(str(side.get("lang", "en")), dashes=False)
        rules = TextRules(self.truth(side, "normalize"), moses, self.truth(side, "lowercase"))
        level = self.text(side, "level", "", ("word", "char", "bpe"))
        segmenter: Segmenter = SpaceSegmenter() if level == "word" else CharacterSegmenter()
        path = None
        if level == "bpe":
            segmenter, path = self._subwords(side, options, names)
        return (NormalizingSegmenter(segmenter, rules) if rules != TextRules() else segmenter), path

    def _subwords(self, side: dict[str, Any], options: dict[str, Any], names: Sequence[str]) -> tuple[Segmenter, Path]:
        kind = self.text(side, "tokenizer_type", str(side.get("bpe_type", "sentencepiece")), tuple(_TOKENIZERS))
        path = self.find(options, _TOKENIZERS[kind])
        segmenter = read_segmenter(path, separator=str(options.get("separator", "@@")))
        if isinstance(segmenter, BpeSegmenter) and kind == "subword-nmt":
            segmenter.restrict(names)
            return segmenter, path
        if isinstance(segmenter, SentencePieceSegmenter) and kind == "sentencepiece":
            model = read_model(segmenter.model)
            restricted = model.restricted_to(names)
            changed = restricted.pieces != model.pieces
            return SentencePieceSegmenter(restricted.as_bytes()) if changed else segmenter, path
        raise UserError(f"{path}: not the model of {kind} that {self.path} names.")
