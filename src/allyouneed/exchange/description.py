"""`allyouneed info`: what a model is, whoever made it, and what it can be turned into."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.config import ModelConfig
from allyouneed.errors import UserError
from allyouneed.exchange.exporter import FORMATS as EXPORTS
from allyouneed.exchange.exporter import refusal
from allyouneed.exchange.formats import FORMATS
from allyouneed.exchange.identity import OURS, Identity, identify
from allyouneed.exchange.reading.licence import find_licence
from allyouneed.exchange.reading.model_languages import UNKNOWN, UnknownLanguages
from allyouneed.json_text import json_line
from allyouneed.model.transformer import Transformer
from allyouneed.terminal import program

_SIZES = ("d_model", "d_ff", "decoder_d_ff", "num_heads", "decoder_heads", "encoder_layers", "decoder_layers")
_NO_DIFFERENCE = (*_SIZES, "max_positions", "dropout")  # said as sizes, or of training only
_FP32 = 4  # bytes


def describe_model(path: Path, as_json: bool = False) -> str:
    """Describe a folder or file of any system.

    Args:
        path: The folder or file.
        as_json: Return a JSON object instead of text.

    Returns:
        The description, without a final newline.

    Raises:
        UserError: If the path does not exist, is not recognised, or is a damaged RUN.
    """
    identity = identify(path)
    facts: dict[str, Any] = {"model": str(path), "is": identity.title, "system": identity.system or None}
    if licence := find_licence(identity.model):
        facts["licence"] = licence
    try:
        facts |= _facts(_load(identity))
    except UserError as error:
        if identity.system == OURS:
            raise
        facts["cannot be imported"] = str(error)
        facts |= _outline(identity)
    else:
        facts |= {"import": str(identity.model)} if identity.system != OURS else {}
    if as_json:
        return json_line(facts, indent=1)
    return "\n".join(_lines(facts))


def _load(identity: Identity) -> Bundle:
    """Load a RUN, or read another system's model."""
    if identity.system == OURS:
        return load_bundle(identity.model)
    if identity.system not in FORMATS:
        raise UserError(f"{identity.model}: there is no reader for {identity.title}.")
    read = FORMATS[identity.system].load()
    try:
        return read([identity.model], None)
    except UnknownLanguages:
        return read([identity.model], UNKNOWN)


def _outline(identity: Identity) -> dict[str, Any]:
    """Return the sizes that the settings of a model state which cannot be imported, or why they are refused."""
    try:
        if identity.system in FORMATS and (outline := FORMATS[identity.system].read_outline(identity.model)):
            model, sizes = outline
            with torch.device("meta"):  # counts parameters without memory for them
                counted = Transformer(model, sizes[0], target_vocab_size=dict(enumerate(sizes)).get(1))
            return _sizes(model, counted.num_parameters(), sizes)
    except UserError as error:
        return {"cannot be imported": str(error)}
    return {}


def _facts(bundle: Bundle) -> dict[str, Any]:
    tokenizer = bundle.tokenizer
    vocabulary = [len(tokenizer)] if tokenizer.shared else [len(tokenizer), len(tokenizer.target)]
    return {
        "languages": None if bundle.languages == UNKNOWN else bundle.title,
        **_sizes(bundle.config.model, bundle.model.num_parameters(), vocabulary),
        "longest source": bundle.longest_source,
        "beam size": bundle.config.search.beam_size,
        "can become": {name: refusal(bundle, name) or True for name in EXPORTS},
    }


def _sizes(model: ModelConfig, parameters: int, vocabulary: list[int]) -> dict[str, Any]:
    return {
        "layers": [model.encoder_layers, model.decoder_layers],
        "d_model": model.d_model,
        "d_ff": [model.encoder.d_ff, model.decoder.d_ff],
        "heads": [model.encoder.heads, model.decoder.heads],
        "parameters": parameters,
        "vocabulary": vocabulary,
        "differs from the paper": dict(_differences(model)),
    }


def _differences(model: ModelConfig) -> Iterator[tuple[str, Any]]:
    """Yield the settings, other than sizes, in which a model differs from the paper's."""
    for name, field in ModelConfig.model_fields.items():
        value = getattr(model, name)
        if name not in _NO_DIFFERENCE and value != field.default:
            yield name, value


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Write the facts for a terminal."""
    yield f"{facts['model']}: {facts['is']}"
    rows = dict(_rows(facts))
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        yield f"  {name.ljust(width)}  {value}"


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "languages" in facts:
        yield "languages", facts["languages"] or "not named"
    if "layers" in facts:
        sizes = f"d_model {facts['d_model']:,}, d_ff {_both(facts['d_ff'])}, {_both(facts['heads'])} heads"
        vocabulary = " + ".join(f"{size:,}" for size in facts["vocabulary"])
        yield "architecture", f"{' + '.join(map(str, facts['layers']))} layers, {sizes}"
        yield "parameters", f"{facts['parameters']:,}: {facts['parameters'] * _FP32 / 1e6:,.1f} MB in fp32"
        yield "vocabulary", f"{vocabulary} tokens{', one vocabulary for both sides' * (len(facts['vocabulary']) == 1)}"
        different = ", ".join(f"{name} = {value}" for name, value in facts["differs from the paper"].items())
        yield "other than in the paper", different or "nothing but sizes"
    yield "licence", facts.get("licence", "not stated")
    if "cannot be imported" in facts:
        yield "cannot be imported", facts["cannot be imported"]
    elif facts["system"] != OURS:
        languages = "" if facts["languages"] else " --from CODE --to CODE"
        yield "import it with", f"{program()} import {facts['system']} {shlex.quote(facts['import'])} RUN{languages}"
    for name, answer in facts.get("can become", {}).items():
        yield f"export to {name}", "yes" if answer is True else f"no: {answer}"


def _both(sizes: list[int]) -> str:
    """Write a size of encoder and decoder, once if they are equal."""
    return " and ".join(f"{size:,}" for size in dict.fromkeys(sizes))
