"""A folder of Marian's, as Hugging Face has every OPUS-MT model, as a bundle of ours."""

from __future__ import annotations

from operator import index
from pathlib import Path
from typing import Any

from allyouneed.bundle import Bundle, build_model, load_weights, save_bundle
from allyouneed.config import Config, config_from
from allyouneed.data.vocabulary import ADDED, Vocabulary, VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.marian_weights import from_marian
from allyouneed.files import MANIFEST, check_folder, read_json, read_tensors

_FACTS = (  # whole numbers, all of them
    *("d_model", "vocab_size", "pad_token_id", "eos_token_id"),
    *(f"{side}_{size}" for side in ("encoder", "decoder") for size in ("layers", "ffn_dim", "attention_heads")),
)
_MODEL, _CONFIG, _VOCABULARY = "model.safetensors", "config.json", "vocab.json"
_NEEDED = (_CONFIG, _MODEL, "source.spm", "target.spm", _VOCABULARY)
_REMEDY = "Get the folder again; it must be one that `MarianMTModel.save_pretrained` and its tokenizer write."
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish"}
_LONGEST = 512  # Marian's usual number of positions


def import_model(format: str, folder: Path, run: Path, source: str | None = None, target: str | None = None) -> str:
    """`import_marian`, and what to say of it. Errors: `UserError` for another format or half a pair of languages."""
    if format != "marian":
        raise UserError(f"import {format}: only marian can be imported, the form of OPUS-MT models.")
    if bool(source) != bool(target):
        raise UserError("give both languages, --from CODE --to CODE, or neither.")
    if run.exists() and any(run.iterdir()):
        raise UserError(f"{run} is there already: give a new folder.")
    bundle = import_marian(folder, run, (source, target) if source and target else None)
    languages = " → ".join(bundle.languages)
    return f"{languages}: {bundle.described()}, {len(bundle.tokenizer):,} subwords\nbundle: {run / 'bundle'}"


def import_marian(folder: Path, run: Path, languages: tuple[str, str] | None = None) -> Bundle:
    """Makes `run/bundle` of a Marian folder. languages: codes, where the folder's tokenizer does not tell them.

    Errors: `UserError` when a file is missing, changed since a manifest was written, or of another architecture.
    """
    _check_files(folder)
    facts = read_json(folder / _CONFIG, _REMEDY, lambda facts: [index(facts[key]) for key in _FACTS])
    config = _our_config(folder, facts)
    tokenizer = _our_tokenizer(folder, facts)
    model = build_model(config.model, tokenizer)
    where = folder / _MODEL
    try:
        sides = tokenizer.vocabulary, tokenizer.target.vocabulary
        tensors = from_marian(read_tensors(where), config.model, *sides)
    except KeyError as error:
        raise UserError(f"{where}: has no tensor {error}. {_REMEDY}") from error
    except IndexError as error:
        raise UserError(f"{where}: has fewer rows than the vocabulary has subwords. {_REMEDY}") from error
    load_weights(model, {name: tensor.float() for name, tensor in tensors.items()}, where)
    notes = {"imported from": folder.resolve().name}
    longest = facts.get("max_position_embeddings", _LONGEST)
    bundle = Bundle(model.eval(), tokenizer, config, languages or _languages(folder), longest, notes=notes)
    save_bundle(bundle, run / "bundle")
    return bundle


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    if (folder / MANIFEST).is_file():
        check_folder(folder, _NEEDED, _REMEDY)
    for name in _NEEDED:
        if not (folder / name).is_file():
            hint = ""
            if name == _MODEL and (folder / "pytorch_model.bin").is_file():
                hint = (
                    "pytorch_model.bin is a pickle, which can execute code and is not read here; write it anew with "
                    "MarianMTModel.from_pretrained(DIR).save_pretrained(DIR). "
                )
            raise UserError(f"{folder / name}: missing. {hint}{_REMEDY}")


def _our_config(folder: Path, facts: dict[str, Any]) -> Config:
    activation = facts.get("activation_function", "gelu")
    odd = {
        "model_type": facts.get("model_type") != "marian",
        "activation_function": activation not in _ACTIVATIONS,
        "scale_embedding": not facts.get("scale_embedding", False),
        "normalize_before": facts.get("normalize_before", False),
        "normalize_embedding": facts.get("normalize_embedding", False),
        "add_final_layer_norm": facts.get("add_final_layer_norm", False),
        "decoder_ffn_dim": facts["decoder_ffn_dim"] != facts["encoder_ffn_dim"],
        "decoder_attention_heads": facts["decoder_attention_heads"] != facts["encoder_attention_heads"],
    }
    shared, tied = (
        facts.get(key, True) is not False for key in ("share_encoder_decoder_embeddings", "tie_word_embeddings")
    )
    odd["tie_word_embeddings"] = shared and not tied
    for name, is_odd in odd.items():
        if is_odd:
            value = facts.get(name)
            raise UserError(f"{folder / _CONFIG}: {name} = {value}: no OPUS-MT model has that, and it is not read.")
    model = {
        "d_model": facts["d_model"],
        "d_ff": facts["encoder_ffn_dim"],
        "num_heads": facts["encoder_attention_heads"],
        "encoder_layers": facts["encoder_layers"],
        "decoder_layers": facts["decoder_layers"],
        "dropout": facts.get("dropout", 0.1),
        "tie_embeddings": True if shared else ("target" if tied else False),
        "attention_bias": True,
        "output_bias": True,
        "activation": _ACTIVATIONS[activation],
    }
    beams = facts.get("num_beams") or _optional(folder / "generation_config.json").get("num_beams") or 4
    data = {"vocab_size": facts["vocab_size"]}
    return config_from({"model": model, "data": data, "search": {"beam_size": beams}}, str(folder / _CONFIG))


def _our_tokenizer(folder: Path, facts: dict[str, Any]) -> VocabularyTokenizer:
    settings = _optional(folder / "tokenizer_config.json")
    names = [_VOCABULARY, "target_vocab.json"] if settings.get("separate_vocabs") else [_VOCABULARY]
    sizes = [facts["vocab_size"], facts.get("decoder_vocab_size") or facts["vocab_size"]]
    source, *others = (_our_vocabulary(folder / name, facts, size) for name, size in zip(names, sizes, strict=False))
    models = [(folder / name).read_bytes() for name in ("source.spm", "target.spm")]
    try:
        target = VocabularyTokenizer(models[1], others[0] if others else source)
        if not others and models[0] == models[1]:
            return target
        return VocabularyTokenizer(models[0], source, target)
    except RuntimeError as error:
        raise UserError(f"{folder}: source.spm or target.spm is not a SentencePiece model.") from error


def _our_vocabulary(path: Path, facts: dict[str, Any], size: int) -> Vocabulary:
    """Padding, unknown, start and end first, as all of ours; then the others in their order."""
    ids = read_json(path, _REMEDY, lambda ids: sorted(ids.values()))
    names = {row: name for name, row in ids.items()}
    if sorted(names) != list(range(size)):
        raise UserError(f"{path}: does not name rows 0 to {size - 1}, each once, as {_CONFIG} says. {_REMEDY}")
    pad, eos, unk = facts["pad_token_id"], facts["eos_token_id"], ids.get("<unk>")
    if unk is None:
        raise UserError(f"{path}: has no <unk>. {_REMEDY}")
    start = facts.get("decoder_start_token_id", pad)
    for row in (pad, eos, start):
        if row not in names:
            raise UserError(f"{path}: has no row {row}, which {_CONFIG} names. {_REMEDY}")
    special = [pad, unk, ADDED if start == pad else start, eos]
    rows = [*special, *(row for row in range(size) if row not in special)]
    added = next(name for name in ("<s>", "<start>", "<start of sentence>") if name not in ids or start != pad)
    return Vocabulary([added if row == ADDED else names[row] for row in rows], rows)


def _languages(folder: Path) -> tuple[str, str]:
    settings = _optional(folder / "tokenizer_config.json")
    source, target = settings.get("source_lang"), settings.get("target_lang")
    if not (source and target):
        raise UserError(f"{folder / 'tokenizer_config.json'}: tells no languages. Give them: --from CODE --to CODE.")
    return source, target


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path, _REMEDY) if path.is_file() else {}
