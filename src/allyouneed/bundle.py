"""What translates: weights, settings and tokenizer, inseparable and checked.

A bundle is a folder: `model.safetensors`, `config.json`, `tokenizer.model`, `samples.json` (sentences and what it says
of them), `README.md` (the model card) and `manifest.json` with their checksums. One imported from Marian has its
tokenizer in `source.spm`, `target.spm` and `vocabulary.json` instead. Loading it never executes code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from allyouneed.config import Config, ModelConfig, config_from
from allyouneed.data.vocabulary import AnyTokenizer, load_tokenizers
from allyouneed.errors import UserError
from allyouneed.files import check_folder, read_json, read_tensors, tensor_bytes, to_json, write_folder
from allyouneed.model.transformer import Transformer

FORMAT = 2  # 1 had no samples, and tokenizer.model always
Build: TypeAlias = Callable[..., Transformer]  # from settings and vocabulary size; what has its interface will do
_NAMED = 3  # tensors of which a message tells
_FILES = ("model.safetensors", "config.json")
_FACTS = ("format", "languages", "vocab_size", "longest_source", "scores", "notes", "config")
_MANY = 100_000  # parameters: of fewer, 0.0 million would say nothing
_REMEDY = "Get the bundle again, or write it anew: run the `allyouneed train` command that made it."


@dataclass
class Bundle:
    """languages: codes of source and target; longest_source: subwords, end included, of the longest training source;
    scores: measured on held-out text, with signatures; notes: how it was made, for the model card; samples: see
    `translation/reference_outputs.py`, none before training has come to its end."""

    model: Transformer
    tokenizer: AnyTokenizer
    config: Config
    languages: tuple[str, str]
    longest_source: int
    scores: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def described(self) -> str:
        """The model's size, for people: `6 + 6 layers, d_model 512, 63.0 million parameters`; a toy's are counted."""
        model, count = self.config.model, self.model.num_parameters()
        parameters = f"{count / 1e6:.1f} million" if count >= _MANY else f"{count:,}"
        layers = f"{model.encoder_layers} + {model.decoder_layers} layers"
        return f"{layers}, d_model {model.d_model}, {parameters} parameters"


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Writes the folder whole or not at all. Errors: `UserError` when the disk is full."""
    facts = {
        "format": FORMAT,
        "languages": list(bundle.languages),
        "vocab_size": len(bundle.tokenizer),
        "longest_source": bundle.longest_source,
        "scores": bundle.scores,
        "notes": bundle.notes,
        "config": bundle.config.model_dump(),
    }
    contents: dict[str, bytes | str] = {
        "model.safetensors": tensor_bytes(weights_of(bundle.model)),
        "config.json": to_json(facts),
        **bundle.tokenizer.files(),
        "samples.json": to_json({"sentences": bundle.samples}),
        "README.md": _model_card(bundle),
    }
    write_folder(folder, contents)


def load_bundle(path: Path, build: Build = Transformer) -> Bundle:
    """Of a RUN or of a bundle's own folder, on the CPU. build: the model, where it is not a Transformer.

    Errors: `UserError` when there is none, or when a file of it is missing, truncated, changed or of a later format.
    """
    folder = find_bundle(path)
    check_folder(folder, _FILES, _REMEDY)
    facts = read_json(folder / "config.json", _REMEDY, lambda facts: [facts[key] for key in _FACTS])
    if not isinstance(facts["format"], int):
        raise UserError(f"{folder / 'config.json'}: format {facts['format']!r} is no whole number. {_REMEDY}")
    if facts["format"] > FORMAT:
        raise UserError(f"{folder}: format {facts['format']} is newer than this version reads ({FORMAT}): upgrade.")
    config = config_from(facts["config"], str(folder / "config.json"))
    tokenizer = load_tokenizers(folder)
    if len(tokenizer) != facts["vocab_size"]:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} subwords, the model {facts['vocab_size']}. {_REMEDY}"
        )
    model = build_model(config.model, tokenizer, build)
    load_weights(model, read_tensors(folder / "model.safetensors"), folder / "model.safetensors")
    told = facts["longest_source"], facts["scores"], facts["notes"], _samples(folder / "samples.json")
    return Bundle(model, tokenizer, config, tuple(facts["languages"]), *told)


def build_model(config: ModelConfig, tokenizer: AnyTokenizer, build: Build = Transformer) -> Transformer:
    """A new model for the tokenizer's vocabulary, or its two vocabularies.

    Errors: `UserError` where two of them are to share one matrix.
    """
    source, target = len(tokenizer), len(tokenizer.target)
    if source == target:
        return build(config, source)
    if config.tie_embeddings is True:
        raise UserError(
            f"model.tie_embeddings = true wants one vocabulary, here are two, of {source} and of {target} subwords. "
            'It may be "target", or false.'
        )
    return build(config, source, target_vocab_size=target)


def find_bundle(path: Path) -> Path:
    """The bundle's folder. Errors: `UserError` when the path is neither a RUN nor a bundle."""
    for folder in (path / "bundle", path):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise UserError(f"{path}: no such folder. Give a RUN made by `allyouneed train`, or a bundle.")
    if (path / "run.json").is_file():
        raise UserError(f"{path}: this run has no bundle yet. Let `allyouneed train` come to its first validation.")
    raise UserError(f"{path}: neither a RUN nor a bundle. Give a folder made by `allyouneed train`.")


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Named parameters, a shared one once, under its first name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@torch.no_grad()
def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copies tensors into the parameters. Errors: `UserError` when names or shapes are not the model's."""
    parameters = dict(model.named_parameters())
    if parameters.keys() != tensors.keys():
        odd = sorted(parameters.keys() ^ tensors.keys())
        named = ", ".join(odd[:_NAMED]) + (", ..." if len(odd) > _NAMED else "")
        raise UserError(f"{where}: does not fit its settings: only one of the two has {named}.")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise UserError(f"{where}: {name} is {list(tensors[name].shape)}, expected {list(parameter.shape)}.")
        parameter.copy_(tensors[name])


def _samples(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return read_json(path, _REMEDY, lambda content: content["sentences"])["sentences"]


def _model_card(bundle: Bundle) -> str:
    source, target = bundle.languages
    lines = [
        f"# {source} → {target}",
        "",
        f"A Transformer made with allyouneed: {bundle.described()}, {len(bundle.tokenizer):,} subwords.",
        "",
        "| measured | figure |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in _rows({**bundle.scores, **bundle.notes})),
        "",
        f"Translate with it: `allyouneed translate FOLDER`. Sources up to {bundle.longest_source} subwords are "
        "translated in one piece, longer ones in several.",
    ]
    return "\n".join(lines) + "\n"


def _rows(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as rows of a table: ("valid bleu", "37.12")."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name} ")
        else:
            yield prefix + name, f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")
