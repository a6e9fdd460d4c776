"""Marian models with random weights, written by transformers in the format of OPUS-MT models."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from tests.conftest import toy_pairs
from tests.exchange.models import SIZES

SHAPES = {
    "joint, swish": {},
    "two sentencepiece models, relu": {"two_models": True, "activation_function": "relu"},
    "two vocabularies, tied": {"two_vocabularies": True, "share_encoder_decoder_embeddings": False},
    "two vocabularies, nothing tied": {
        "two_vocabularies": True,
        "share_encoder_decoder_embeddings": False,
        "tie_word_embeddings": False,
    },
    "gelu, decoder of other sizes": {
        **{"activation_function": "gelu_new", "scale_embedding": False},
        **{"decoder_ffn_dim": 24, "decoder_attention_heads": 2},
    },
    "two decoder layers, a separate start token": {"encoder_layers": 1, "decoder_layers": 2, "start_token": "<s>"},
}


def write_marian(
    folder: Path, two_models: bool = False, two_vocabularies: bool = False, start_token: str = "<pad>", **settings
) -> None:
    from transformers import MarianConfig, MarianMTModel

    folder.mkdir(parents=True)
    sides = list(zip(*toy_pairs(80), strict=True))
    joint = not (two_models or two_vocabularies)
    tokenizers = [learn_tokenizer([text for s in sides for text in s] if joint else side, 300) for side in sides]
    pieces = [[p for p in t.pieces(range(len(t))) if p not in ("</s>", "<unk>", "<pad>")] for t in tokenizers]
    pieces[1] = pieces[1][:-3] if two_vocabularies else pieces[1]
    joint_pieces = list(dict.fromkeys([*pieces[0], *pieces[1]]))
    lists = pieces if two_vocabularies else [joint_pieces, joint_pieces]
    vocabularies = [{p: i for i, p in enumerate(["</s>", "<unk>", *pieces, "<pad>"])} for pieces in lists]
    if start_token == "<pad>":  # like OPUS-MT: the vocabulary has no <s>
        vocabularies = [{("▁start" if p == "<s>" else p): i for p, i in ids.items()} for ids in vocabularies]
    for name, tokenizer in zip(("source.spm", "target.spm"), tokenizers, strict=True):
        (folder / name).write_bytes(tokenizer.model)
    names = ("vocab.json", "target_vocab.json") if two_vocabularies else ("vocab.json",)
    for name, ids in zip(names, vocabularies, strict=False):
        (folder / name).write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    languages = {"source_lang": "de", "target_lang": "en", "separate_vocabs": two_vocabularies, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer", **languages}))
    config = MarianConfig(
        **{
            "vocab_size": len(vocabularies[0]),
            "decoder_vocab_size": len(vocabularies[1]),
            "d_model": SIZES["d_model"],
            "encoder_layers": SIZES["encoder_layers"],
            "decoder_layers": SIZES["decoder_layers"],
            "encoder_ffn_dim": SIZES["d_ff"],
            "decoder_ffn_dim": SIZES["d_ff"],
            "encoder_attention_heads": SIZES["num_heads"],
            "decoder_attention_heads": SIZES["num_heads"],
            "activation_function": "swish",
            "scale_embedding": True,
            "max_position_embeddings": 64,
            "pad_token_id": vocabularies[1]["<pad>"],
            "eos_token_id": 0,
            "forced_eos_token_id": 0,
            "decoder_start_token_id": vocabularies[1][start_token],
            **settings,
        }
    )
    if two_vocabularies:  # Hugging Face has one padding id for both sides: that of the smaller vocabulary
        config.pad_token_id = config.decoder_start_token_id = vocabularies[1]["<pad>"]
    torch.manual_seed(7)
    model = MarianMTModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.final_logits_bias.normal_()
        if start_token == "<pad>":
            for embedding in {model.get_encoder().embed_tokens, model.get_decoder().embed_tokens}:
                embedding.weight[config.pad_token_id] = 0
    model.save_pretrained(folder)
