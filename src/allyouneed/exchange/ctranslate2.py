"""A bundle as a CTranslate2 model: the same weights in its layout, on a specification built from Python.

CTranslate2 has its own sinusoids (all sines first, other frequencies), so ours are stored as a table; and one width of
head, d_model / num_heads, so narrower heads are filled up with zeros, which adds nothing to any product. What search
never says (padding, unknown, start) is pushed out by a bias on the logits, so that no caller has to ask for it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from allyouneed.bundle import Bundle
from allyouneed.config import ModelConfig
from allyouneed.data.tokenizer import BOS, EOS, UNK
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import Speaker
from allyouneed.exchange.head_padding import filled, head_width
from allyouneed.files import new_folder
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.embedding import Embedding
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.translation.search import NEVER_SAID

QUANTIZATIONS = ("int8", "int16", "float16")
LONGEST_INPUT = 1024  # CTranslate2 cuts longer sources unless it is told otherwise
LONGEST_OUTPUT = 256  # and longer translations, likewise
_NEVER = -1e4  # a logit that is as good as minus infinity, and still a number in fp16


def export_ctranslate2(bundle: Bundle, folder: Path, quantization: str | None = None) -> None:
    """Writes `model.bin`, `config.json`, the vocabularies and `manifest.json`; quantization: None is fp32.

    Errors: `UserError` for sizes the format cannot hold, an unknown quantization, a folder that has files, or where
    the package is not installed.
    """
    if quantization not in (None, *QUANTIZATIONS):
        raise UserError(f"quantization {quantization}: choose {', '.join(QUANTIZATIONS)}, or none for fp32.")
    spec = build_spec(bundle)
    spec.validate()
    spec.optimize(quantization=quantization)
    with new_folder(folder) as beside:
        spec.save(str(beside))


def ctranslate2_translator(folder: Path, bundle: Bundle, split: Callable[[str], list[str]] | None = None) -> Speaker:
    """What the exported model says. split: text to subwords, ours if None.

    By the search that means the same here and there: without a length penalty (CTranslate2 divides by |Y|^α, we by
    ((5 + |Y|) / 6)^α) and with the empty translation allowed. A translation that never ends is cut at another length.
    """
    tokenizer, extra = bundle.tokenizer, bundle.config.search.max_extra_length
    translator = _package().Translator(str(folder), device="cpu")

    def translate(texts: Sequence[str], beam_size: int) -> list[list[str]]:
        pieces = [split(text) if split else tokenizer.pieces(tokenizer.encode(text)) for text in texts]
        found = translator.translate_batch(
            pieces,
            max_batch_size=4096,
            batch_type="tokens",
            beam_size=beam_size,
            length_penalty=0,
            max_input_length=0,
            max_decoding_length=max(map(len, pieces), default=0) + extra + 1,
            min_decoding_length=0,
        )
        return [result.hypotheses[0] for result in found]

    return translate


def build_spec(bundle: Bundle) -> Any:
    """The `ctranslate2.specs.TransformerSpec` of a bundle, with its weights. Errors: `UserError`, see above."""
    specs = _package().specs
    model = copy.deepcopy(bundle.model).cpu()  # CTranslate2 quantizes in place
    config, search = bundle.config.model, bundle.config.search
    spec = specs.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.num_heads,
        pre_norm=config.norm == "pre",
        activation={"relu": specs.Activation.RELU, "swish": specs.Activation.SWISH}[config.activation],
    )
    places = max(LONGEST_INPUT, LONGEST_OUTPUT, bundle.longest_source + search.max_extra_length) + 1
    _set_embedding(spec.encoder.embeddings[0], spec.encoder, model.source_embedding, places)
    _set_embedding(spec.decoder.embeddings, spec.decoder, model.target_embedding, places)
    for ours, theirs in ((model.encoder, spec.encoder), (model.decoder, spec.decoder)):
        if isinstance(ours.norm, nn.LayerNorm):
            _set_norm(theirs.layer_norm, ours.norm)
        layers: Iterable[EncoderLayer | DecoderLayer] = ours.layers
        for layer, layer_spec in zip(layers, theirs.layer, strict=True):
            _set_layer(layer_spec, layer, config)
    _set_output(spec.decoder.projection, model.output)
    _set_vocabularies(spec, bundle)
    return spec


def _package() -> ModuleType:
    try:
        import ctranslate2
        import ctranslate2.specs
    except ImportError as error:
        raise UserError("the package ctranslate2 is not installed: pip install 'allyouneed[exchange]'.") from error
    return ctranslate2


def _set_layer(spec: Any, layer: EncoderLayer | DecoderLayer, config: ModelConfig) -> None:
    _set_attention(spec.self_attention, layer.self_attention, layer.residuals[0].norm, config, own=True)
    if isinstance(layer, DecoderLayer):
        _set_attention(spec.attention, layer.cross_attention, layer.residuals[1].norm, config, own=False)
    _set_feed_forward(spec.ffn, layer.feed_forward, layer.residuals[-1].norm)


def _set_attention(
    spec: Any, attention: MultiHeadAttention, norm: nn.LayerNorm, config: ModelConfig, own: bool
) -> None:
    """own: queries, keys and values are of the same positions, and their projections one matrix; else keys and values
    are one."""
    heads, width = config.num_heads, head_width(config)
    inner = [
        [filled(linear.weight, heads, width), None if linear.bias is None else filled(linear.bias, heads, width)]
        for linear in (attention.query, attention.key, attention.value)
    ]
    for linear, parts in zip(spec.linear, [inner] if own else [inner[:1], inner[1:]], strict=False):
        linear.weight = torch.cat([weight for weight, _ in parts])
        if attention.query.bias is not None:
            linear.bias = torch.cat([bias for _, bias in parts])
    spec.linear[-1].weight = filled(attention.output.weight.T, heads, width).T.contiguous()
    if attention.output.bias is not None:
        spec.linear[-1].bias = attention.output.bias.detach()
    if config.key_size != width:
        spec.queries_scale = 1 / math.sqrt(config.key_size)
    _set_norm(spec.layer_norm, norm)


def _set_feed_forward(spec: Any, feed_forward: FeedForward, norm: nn.LayerNorm) -> None:
    for linear, ours in ((spec.linear_0, feed_forward.inner), (spec.linear_1, feed_forward.outer)):
        linear.weight, linear.bias = ours.weight.detach(), ours.bias.detach()
    _set_norm(spec.layer_norm, norm)


def _set_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = norm.weight.detach(), norm.bias.detach()


def _set_embedding(spec: Any, side: Any, embedding: Embedding, places: int) -> None:
    spec.weight = embedding.tokens.weight.detach()
    side.position_encodings.encodings = embedding.position_encodings(0, embedding.max_positions or places).detach()


def _set_output(spec: Any, output: nn.Linear) -> None:
    bias = torch.zeros(len(output.weight)) if output.bias is None else output.bias.detach().clone()
    bias[NEVER_SAID] = _NEVER
    spec.weight, spec.bias = output.weight.detach(), bias


def _set_vocabularies(spec: Any, bundle: Bundle) -> None:
    source, target = bundle.tokenizer, bundle.tokenizer.target
    spec.register_source_vocabulary(source.pieces(range(len(source))))
    spec.register_target_vocabulary(target.pieces(range(len(target))))
    config = spec.config
    config.unk_token, config.bos_token, config.eos_token = target.pieces([UNK, BOS, EOS])
    config.decoder_start_token = config.bos_token
    config.add_source_eos = True
    config.layer_norm_epsilon = 1e-5
