"""A bundle as a folder that Hugging Face's transformers reads as `MarianMTModel`, and the proof that it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from allyouneed.bundle import Bundle, weights_of
from allyouneed.data.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.data.vocabulary import ADDED, AnyTokenizer, Vocabulary, VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import Speaker
from allyouneed.exchange.marian_weights import to_marian
from allyouneed.files import new_folder, tensor_bytes, to_json

_LONGEST = 512  # Marian's usual number of positions


def export_marian(bundle: Bundle, folder: Path) -> None:
    """Writes a folder that `MarianMTModel` and `MarianTokenizer` read, and its manifest.

    Errors: `UserError` for pre-norm or learned positions, which Marian has not, for heads it cannot hold, or a folder
    that has files.
    """
    model = bundle.config.model
    for setting, value in (("norm", "post"), ("positions", "sinusoidal")):
        if getattr(model, setting) != value:
            raise UserError(
                f"model.{setting} = {getattr(model, setting)}: Marian knows only {value}. Export to ctranslate2, which "
                f"knows both, or train with --set model.{setting}={value}."
            )
    source, target = (_vocabulary(tokenizer) for tokenizer in (bundle.tokenizer, bundle.tokenizer.target))
    tensors = to_marian(weights_of(bundle.model), model, source, target)
    tokenizer, facts = bundle.tokenizer, _their_config(bundle, source, target)
    contents: dict[str, str | bytes] = {
        "model.safetensors": tensor_bytes(tensors),
        "config.json": to_json(facts),
        "generation_config.json": to_json(_generation(bundle, facts)),
        "source.spm": tokenizer.model,
        "target.spm": tokenizer.target.model,
        "vocab.json": to_json(_their_ids(source)),
        "tokenizer_config.json": to_json(_tokenizer_config(bundle, source, target)),
    }
    if source != target:
        contents["target_vocab.json"] = to_json(_their_ids(target))
    with new_folder(folder) as beside:
        for name, content in contents.items():
            (beside / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _vocabulary(tokenizer: AnyTokenizer) -> Vocabulary:
    if isinstance(tokenizer, VocabularyTokenizer):
        return tokenizer.vocabulary
    ids = list(range(len(tokenizer)))
    return Vocabulary(tokenizer.pieces(ids), ids)


def _their_ids(vocabulary: Vocabulary) -> dict[str, int]:
    pairs = zip(vocabulary.rows, vocabulary.names, strict=True)
    return {name: row for row, name in sorted(pairs) if row != ADDED}


def _their_config(bundle: Bundle, source: Vocabulary, target: Vocabulary) -> dict[str, Any]:
    model, rows = bundle.config.model, target.rows
    start = rows[PAD] if rows[BOS] == ADDED else rows[BOS]
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "d_model": model.d_model,
        "encoder_layers": model.encoder_layers,
        "decoder_layers": model.decoder_layers,
        "encoder_ffn_dim": model.d_ff,
        "decoder_ffn_dim": model.d_ff,
        "encoder_attention_heads": model.num_heads,
        "decoder_attention_heads": model.num_heads,
        "activation_function": model.activation,
        "dropout": model.dropout,
        "vocab_size": len(_their_ids(source)),
        "decoder_vocab_size": len(_their_ids(target)),
        "share_encoder_decoder_embeddings": model.tie_embeddings is True,
        "tie_word_embeddings": model.tie_embeddings is not False,
        "scale_embedding": True,
        "static_position_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "add_final_layer_norm": False,
        "add_bias_logits": False,
        "max_position_embeddings": max(_LONGEST, bundle.longest_source + bundle.config.search.max_extra_length + 1),
        "pad_token_id": rows[PAD],
        "eos_token_id": rows[EOS],
        "bos_token_id": None if rows[BOS] == ADDED else rows[BOS],
        "forced_eos_token_id": rows[EOS],
        "decoder_start_token_id": start,
        "is_encoder_decoder": True,
    }


def _generation(bundle: Bundle, facts: dict[str, Any]) -> dict[str, Any]:
    """As ours searches, except that there is no length penalty: transformers divides by |Y|^α, ours by
    ((5 + |Y|) / 6)^α, and only without one do both mean the same."""
    never = [facts["pad_token_id"], _vocabulary(bundle.tokenizer.target).rows[UNK], facts["bos_token_id"]]
    kept = ("pad_token_id", "eos_token_id", "bos_token_id", "forced_eos_token_id", "decoder_start_token_id")
    return {
        **{name: facts[name] for name in kept},
        "bad_words_ids": [[row] for row in never if row is not None],
        "renormalize_logits": True,
        "num_beams": bundle.config.search.beam_size,
        "length_penalty": 0.0,
        "max_length": facts["max_position_embeddings"],
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


def marian_translator(folder: Path, bundle: Bundle) -> Speaker:
    """What the exported folder says in transformers, with its own tokenizer and generation settings but the beam."""
    model, tokenizer = _loaded(folder)
    extra = bundle.config.search.max_extra_length

    def translate(texts: Sequence[str], beam_size: int) -> list[list[str]]:
        said = []
        for text in texts:
            source = tokenizer([text], return_tensors="pt")
            longest = source["input_ids"].shape[1] + extra + 1
            found = model.generate(**source, num_beams=beam_size, max_length=longest)[0]
            ending = {model.config.pad_token_id, model.config.eos_token_id, model.config.decoder_start_token_id}
            said.append(tokenizer.convert_ids_to_tokens([i for i in found.tolist() if i not in ending]))
        return said

    return translate


@torch.inference_mode()
def logit_difference(folder: Path, bundle: Bundle, sources: Sequence[str], targets: Sequence[str]) -> float:
    """The largest difference of any logit but those of padding and start, for these pairs of sentences."""
    model, _ = _loaded(folder)
    bundle.model.eval()
    ours, theirs = bundle.tokenizer, [_vocabulary(t).rows for t in (bundle.tokenizer, bundle.tokenizer.target)]
    spoken = [i for i in range(len(theirs[1])) if i not in (PAD, BOS)]
    largest = 0.0
    for source, target in zip(sources, targets, strict=True):
        source_ids, target_ids = [*ours.encode(source), EOS], [BOS, *ours.target.encode(target)]
        logits = bundle.model(torch.tensor([source_ids]), torch.tensor([target_ids]))[0]
        rows = [theirs[1][i] for i in target_ids[1:]]
        their_logits = model(
            input_ids=torch.tensor([[theirs[0][i] for i in source_ids]]),
            decoder_input_ids=torch.tensor([[model.config.decoder_start_token_id, *rows]]),
        ).logits[0]
        difference = logits[:, spoken] - their_logits[:, [theirs[1][i] for i in spoken]]
        largest = max(largest, difference.abs().max().item())
    return largest


def _loaded(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer."""
    of_models, of_tokenizers = marian_classes()
    model = of_models.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    return model, of_tokenizers.from_pretrained(folder, local_files_only=True)


def marian_classes() -> tuple[Any, Any]:
    """`MarianMTModel` and `MarianTokenizer`. Errors: `UserError` where transformers is not installed."""
    try:
        from transformers import MarianMTModel, MarianTokenizer
    except ImportError as error:
        raise UserError("the package transformers is not installed: pip install 'allyouneed[exchange]'.") from error
    return MarianMTModel, MarianTokenizer
