"""Export to Marian, as a folder that Hugging Face's transformers reads as `MarianMTModel`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from allyouneed.bundle import Bundle, weights_of
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.data.tokens.vocabulary import ADDED, AnyTokenizer, Vocabulary, VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.hugging_face.weights import position_tables, to_marian
from allyouneed.files import tensor_bytes, write_folder
from allyouneed.json_text import to_json

MAX_POSITIONS = 512  # the usual number of positions of a Marian model
NORM_EPSILON = 1e-5  # of layer norms in transformers; smaller ones differ by less than rounding
ACTIVATIONS = {  # names in transformers
    "relu": "relu",
    "swish": "swish",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "gelu_sigmoid": "quick_gelu",
}
_REQUIRED = {"norm": "post", "positions": "sinusoidal", "source_end": True, "embedding_norm": False}


def export_marian(bundle: Bundle, folder: Path) -> None:
    """Write a folder that `MarianMTModel` and `MarianTokenizer` read, and its manifest.

    Args:
        bundle: The bundle to export.
        folder: A new or empty folder.

    Raises:
        UserError: If the model has norms, positions or heads that Marian does not support, or if the folder has files.
    """
    check_marian(bundle)
    model, tokenizer = bundle.config.model, bundle.tokenizer
    source, target = vocabulary_of(tokenizer), vocabulary_of(tokenizer.target)
    tensors, config = to_marian(weights_of(bundle.model), model, source, target), _config(bundle, source, target)
    if model.sinusoid_frequencies != "paper" or model.first_position:
        tensors |= position_tables(bundle.model, config["max_position_embeddings"])
    contents: dict[str, str | bytes] = {
        "model.safetensors": tensor_bytes(tensors),
        "config.json": to_json(config),
        "generation_config.json": to_json(_generation_config(bundle, config)),
        "source.spm": tokenizer.model,
        "target.spm": tokenizer.target.model,
        "vocab.json": to_json(_marian_ids(source)),
        "tokenizer_config.json": to_json(_tokenizer_config(bundle, source, target)),
    }
    if source != target:
        contents["target_vocab.json"] = to_json(_marian_ids(target))
    write_folder(folder, contents, replace=False)


def check_marian(bundle: Bundle) -> None:
    """Refuse what `MarianMTModel` computes otherwise, whatever its settings.

    Raises:
        UserError: If it cannot be exported.
    """
    model = bundle.config.model
    for setting, value in _REQUIRED.items():
        if getattr(model, setting) != value:
            raise UserError(
                f"model.{setting} = {getattr(model, setting)}: Marian supports only {value}. Export to ctranslate2, "
                f"which supports both, or train with --set model.{setting}={value}."
            )
    if model.has_final_norm("encoder") or model.has_final_norm("decoder"):
        raise UserError(
            f"model.final_norm = {model.final_norm}: Marian has no final norms. Export to ctranslate2, which has."
        )
    if model.norm_epsilon > NORM_EPSILON:
        raise UserError(
            f"model.norm_epsilon = {model.norm_epsilon:g}: Marian has {NORM_EPSILON:g} in transformers. Export to "
            "ctranslate2, which stores it."
        )


def vocabulary_of(tokenizer: AnyTokenizer) -> Vocabulary:
    """Return the tokenizer's vocabulary with the row of each token in Marian's embedding matrices.

    Padding that the vocabulary lacks, as one of Marian's own does, becomes the last row, as in OPUS-MT's models.

    Args:
        tokenizer: One side's tokenizer. Unless it was imported, rows equal ids.

    Returns:
        Names and rows of all tokens.
    """
    if isinstance(tokenizer, VocabularyTokenizer):
        names, rows = tokenizer.vocabulary.names, tokenizer.vocabulary.rows
        padding = len(rows) - rows.count(ADDED) if rows[PAD] == ADDED else rows[PAD]
        return Vocabulary(names, [padding if i == PAD else row for i, row in enumerate(rows)])
    ids = list(range(len(tokenizer)))
    return Vocabulary(tokenizer.pieces(ids), ids)


def _marian_ids(vocabulary: Vocabulary) -> dict[str, int]:
    pairs = zip(vocabulary.rows, vocabulary.names, strict=True)
    return {name: row for row, name in sorted(pairs) if row != ADDED}


def _config(bundle: Bundle, source: Vocabulary, target: Vocabulary) -> dict[str, Any]:
    model, rows = bundle.config.model, target.rows
    start = rows[PAD] if rows[BOS] == ADDED else rows[BOS]
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "d_model": model.d_model,
        "encoder_layers": model.encoder_layers,
        "decoder_layers": model.decoder_layers,
        "encoder_ffn_dim": model.encoder.d_ff,
        "decoder_ffn_dim": model.decoder.d_ff,
        "encoder_attention_heads": model.encoder.heads,
        "decoder_attention_heads": model.decoder.heads,
        "activation_function": ACTIVATIONS[model.activation],
        "dropout": model.dropout,
        "vocab_size": len(_marian_ids(source)),
        "decoder_vocab_size": len(_marian_ids(target)),
        "share_encoder_decoder_embeddings": model.tie_embeddings is True,
        "tie_word_embeddings": model.tie_embeddings in (True, "target"),
        "scale_embedding": model.scale_embeddings,
        "static_position_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "add_final_layer_norm": False,
        "add_bias_logits": False,
        "max_position_embeddings": max(
            MAX_POSITIONS, bundle.longest_source + bundle.config.search.max_extra_length + 1
        ),
        "pad_token_id": rows[PAD],
        "eos_token_id": rows[EOS],
        "bos_token_id": None if rows[BOS] == ADDED else rows[BOS],
        "forced_eos_token_id": rows[EOS],
        "decoder_start_token_id": start,
        "is_encoder_decoder": True,
    }


def _generation_config(bundle: Bundle, config: dict[str, Any]) -> dict[str, Any]:
    """Set the bundle's search, without its length penalty where the formula is not |Y|^α, as in transformers."""
    search = bundle.config.search
    excluded = [config["pad_token_id"], vocabulary_of(bundle.tokenizer.target).rows[UNK], config["bos_token_id"]]
    copied = ("pad_token_id", "eos_token_id", "bos_token_id", "forced_eos_token_id", "decoder_start_token_id")
    return {
        **{name: config[name] for name in copied},
        "bad_words_ids": [[row] for row in excluded if row is not None],
        "renormalize_logits": True,
        "num_beams": search.beam_size,
        "length_penalty": search.length_penalty if search.length_offset == 0 else 0.0,
        "max_length": config["max_position_embeddings"],
    }


def _tokenizer_config(bundle: Bundle, source: Vocabulary, target: Vocabulary) -> dict[str, Any]:
    source_code, target_code = bundle.languages
    return {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": source_code,
        "target_lang": target_code,
        "model_max_length": bundle.longest_source,
        "separate_vocabs": source != target,
        **{f"{name}_token": target.names[i] for name, i in (("pad", PAD), ("unk", UNK), ("eos", EOS))},
    }
