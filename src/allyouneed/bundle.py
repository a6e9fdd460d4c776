"""What translates: weights, settings and tokenizer, inseparable and checked.

A bundle is a folder: `model.safetensors`, `config.json`, `tokenizer.model`, `README.md` (the model card) and
`manifest.json` with their checksums. Loading it never executes code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from allyouneed.config import Config, ModelConfig, config_from
from allyouneed.data.tokenizer import Tokenizer, load_tokenizer
from allyouneed.errors import UserError
from allyouneed.files import check_folder, read_json, read_tensors, tensor_bytes, to_json, write_folder
from allyouneed.model.transformer import Transformer

FORMAT = 1
_FILES = ("model.safetensors", "config.json", "tokenizer.model")
_FACTS = ("format", "languages", "vocab_size", "longest_source", "scores", "notes", "config")
_REMEDY = "Get the bundle again, or write it anew: run the `allyouneed train` command that made it."


@dataclass
class Bundle:
    """languages: codes of source and target; longest_source: subwords, end included, of the longest training source;
    scores: measured on held-out text, with signatures; notes: how it was made, for the model card."""

    model: Transformer
    tokenizer: Tokenizer
    config: Config
    languages: tuple[str, str]
    longest_source: int
    scores: dict = field(default_factory=dict)
    notes: dict = field(default_factory=dict)


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
    contents = {
        "model.safetensors": tensor_bytes(weights_of(bundle.model)),
        "config.json": to_json(facts),
        "tokenizer.model": bundle.tokenizer.model,
        "README.md": _model_card(bundle),
    }
    write_folder(folder, contents)


def load_bundle(path: Path, build: Callable[[ModelConfig, int], nn.Module] = Transformer) -> Bundle:
    """Of a RUN or of a bundle's own folder, on the CPU. build: the model, where it is not a Transformer.

    Errors: `UserError` when there is none, or when a file of it is missing, truncated, changed or of a later format.
    """
    folder = find_bundle(path)
    check_folder(folder, _FILES, _REMEDY)
    facts = read_json(folder / "config.json", _REMEDY, lambda facts: [facts[key] for key in _FACTS])
    if facts["format"] > FORMAT:
        raise UserError(f"{folder}: format {facts['format']} is newer than this version reads ({FORMAT}): upgrade.")
    config = config_from(facts["config"], str(folder / "config.json"))
    tokenizer = load_tokenizer(folder / "tokenizer.model")
    if len(tokenizer) != facts["vocab_size"]:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} subwords, the model {facts['vocab_size']}. {_REMEDY}"
        )
    model = build(config.model, len(tokenizer))
    load_weights(model, read_tensors(folder / "model.safetensors"), folder / "model.safetensors")
    languages = tuple(facts["languages"])
    return Bundle(model, tokenizer, config, languages, facts["longest_source"], facts["scores"], facts["notes"])


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
        raise UserError(
            f"{where}: does not fit its settings: {odd[0]} and {len(odd) - 1} other tensors are not shared."
        )
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise UserError(f"{where}: {name} is {list(tensors[name].shape)}, expected {list(parameter.shape)}.")
        parameter.copy_(tensors[name])


def _model_card(bundle: Bundle) -> str:
    source, target = bundle.languages
    model = bundle.config.model
    lines = [
        f"# {source} → {target}",
        "",
        f"A Transformer made with allyouneed: {model.encoder_layers} + {model.decoder_layers} layers, "
        f"d_model {model.d_model}, {bundle.model.num_parameters() / 1e6:.1f} million parameters, "
        f"{len(bundle.tokenizer):,} subwords.",
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
