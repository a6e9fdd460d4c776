"""Export to CTranslate2: the weights are copied to its layout by a specification built in Python.

CTranslate2 computes other sinusoids (all sines first, other frequencies), so the bundle's are stored as a table. All
its heads are d_model / num_heads wide, so narrower heads are padded with zeros, which leave all products unchanged. A
bias on the logits excludes the tokens that search never generates (padding, unknown, start).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from allyouneed.bundle import Bundle
from allyouneed.config import ModelConfig
from allyouneed.config.model_config import StackSizes
from allyouneed.data.tokens.tokenizer import BOS, EOS, UNK
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import TokenTranslator
from allyouneed.exchange.ctranslate2.segmenters import segmenter_files
from allyouneed.exchange.head_padding import head_width, pad_heads
from allyouneed.exchange.hugging_face.export import vocabulary_of
from allyouneed.files import new_folder
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.embedding import Embedding
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.search import NEVER_GENERATED

try:
    from ctranslate2 import Translator, specs
except ImportError as error:
    raise UserError("the package ctranslate2 is not installed: pip install 'allyouneed[exchange]'.") from error

QUANTIZATIONS = ("int8", "int16", "float16")
MAX_INPUT_LENGTH = 1024  # CTranslate2's default: it truncates longer sources
MAX_OUTPUT_LENGTH = 256  # CTranslate2's default: it truncates longer translations
_ACTIVATIONS = {
    "relu": specs.Activation.RELU,
    "swish": specs.Activation.SWISH,
    "gelu": specs.Activation.GELU,
    "gelu_tanh": specs.Activation.GELUTanh,
    "gelu_sigmoid": specs.Activation.GELUSigmoid,
}
_EXCLUDED_LOGIT = -1e4  # acts as minus infinity, and is finite in fp16


def export_ctranslate2(bundle: Bundle, folder: Path, quantization: str | None = None) -> None:
    """Write `model.bin`, `config.json`, the vocabularies, `manifest.json` and what divides text into tokens.

    Args:
        bundle: The bundle to export.
        folder: A new or empty folder.
        quantization: One of `QUANTIZATIONS`, or None for fp32.

    Raises:
        UserError: If the quantization is unknown, the format cannot represent the heads, or the folder has files.
    """
    if quantization not in (None, *QUANTIZATIONS):
        raise UserError(f"quantization {quantization}: choose {', '.join(QUANTIZATIONS)}, or none for fp32.")
    spec = build_spec(bundle)
    spec.validate()
    spec.optimize(quantization=quantization)
    with new_folder(folder) as unfinished:
        spec.save(str(unfinished))
        for name, content in segmenter_files(bundle.tokenizer).items():
            (unfinished / name).write_bytes(content)


def ctranslate2_translator(
    folder: Path, bundle: Bundle, tokenize: Callable[[str], list[str]] | None = None
) -> TokenTranslator:
    """Load an exported model, with search options that have the same meaning in both systems.

    There is no length penalty, since CTranslate2 divides by |Y|^α and this package by ((5 + |Y|) / 6)^α, and the empty
    translation is allowed. Translations that do not end are truncated at different lengths.

    Args:
        folder: The folder that `export_ctranslate2` wrote.
        bundle: The exported bundle.
        tokenize: Splits a text into tokens; None uses the bundle's tokenizer.

    Returns:
        A function from texts and a beam size to target tokens.
    """
    tokenizer, extra_length = bundle.tokenizer, bundle.config.search.max_extra_length
    translator = Translator(str(folder), device="cpu")
    names = vocabulary_of(tokenizer).names
    ids = {name: i for i, name in enumerate(vocabulary_of(tokenizer.target).names)}

    def translate(texts: Sequence[str], beam_size: int) -> list[list[str]]:
        sources = [tokenize(text) if tokenize else [names[i] for i in tokenizer.encode(text)] for text in texts]
        results = translator.translate_batch(
            sources,
            max_batch_size=4096,
            batch_type="tokens",
            beam_size=beam_size,
            length_penalty=0,
            max_input_length=0,
            max_decoding_length=max(map(len, sources), default=0) + extra_length + 1,
            min_decoding_length=0,
        )
        return [tokenizer.target.pieces([ids[name] for name in result.hypotheses[0]]) for result in results]

    return translate


def check_ctranslate2(bundle: Bundle) -> None:
    """Refuse heads that the format cannot represent.

    Raises:
        UserError: If it cannot be exported.
    """
    config = bundle.config.model
    for sizes in (config.encoder, config.decoder):
        head_width(config.d_model, sizes)


def build_spec(bundle: Bundle) -> Any:
    """Build CTranslate2's specification of a bundle, with its weights.

    Args:
        bundle: The bundle; its weights are copied, since CTranslate2 quantizes in place.

    Returns:
        A `ctranslate2.specs.TransformerSpec`.

    Raises:
        UserError: If the format cannot represent the heads.
    """
    model = copy.deepcopy(bundle.model).cpu()
    config, search = bundle.config.model, bundle.config.search
    spec = _empty_spec(config)
    spec.decoder.alignment_layer = np.int16(deciding_layer(config.decoder_layers))  # also for the coverage penalty
    spec.decoder.alignment_heads = np.int16(config.decoder.heads)
    positions = max(MAX_INPUT_LENGTH, MAX_OUTPUT_LENGTH, bundle.longest_source + search.max_extra_length) + 1
    _set_embedding(spec.encoder.embeddings[0], spec.encoder, model.source_embedding, positions)
    _set_embedding(spec.decoder.embeddings, spec.decoder, model.target_embedding, positions)
    for stack, stack_spec, sizes in (
        (model.encoder, spec.encoder, config.encoder),
        (model.decoder, spec.decoder, config.decoder),
    ):
        if isinstance(stack.norm, nn.LayerNorm):
            _set_norm(stack_spec.layer_norm, stack.norm)
        layers: Iterable[EncoderLayer | DecoderLayer] = stack.layers
        for layer, layer_spec in zip(layers, stack_spec.layer, strict=True):
            _set_layer(layer_spec, layer, sizes)
    _set_output(spec.decoder.projection, model.output)
    _set_vocabularies(spec, bundle)
    return spec


def _empty_spec(config: ModelConfig) -> Any:
    """Return a specification without weights."""
    stacks = []
    for name, of_stack in (("encoder", specs.TransformerEncoderSpec), ("decoder", specs.TransformerDecoderSpec)):
        sizes: StackSizes = getattr(config, name)
        stack = of_stack(
            sizes.layers,
            sizes.heads,
            pre_norm=True,  # else the class has no final norm, which CTranslate2 applies wherever there is one
            no_final_norm=not config.has_final_norm(name),
            activation=_ACTIVATIONS[config.activation],
            layernorm_embedding=config.embedding_norm,
        )
        stack.pre_norm, stack.scale_embeddings = config.norm == "pre", config.scale_embeddings
        stacks.append(stack)
    return specs.TransformerSpec(*stacks)


def _set_layer(spec: Any, layer: EncoderLayer | DecoderLayer, sizes: StackSizes) -> None:
    _set_attention(spec.self_attention, layer.self_attention, layer.residuals[0].norm, sizes, is_self=True)
    if isinstance(layer, DecoderLayer):
        _set_attention(spec.attention, layer.cross_attention, layer.residuals[1].norm, sizes, is_self=False)
    _set_feed_forward(spec.ffn, layer.feed_forward, layer.residuals[-1].norm)


def _set_attention(
    spec: Any, attention: MultiHeadAttention, norm: nn.LayerNorm, sizes: StackSizes, is_self: bool
) -> None:
    """Set one matrix for Q, K and V in self-attention, else one for Q and one for K and V."""
    heads, width = sizes.heads, head_width(len(norm.weight), sizes)
    inner = [
        [pad_heads(linear.weight, heads, width), None if linear.bias is None else pad_heads(linear.bias, heads, width)]
        for linear in (attention.query, attention.key, attention.value)
    ]
    for linear, parts in zip(spec.linear, [inner] if is_self else [inner[:1], inner[1:]], strict=False):
        linear.weight = torch.cat([weight for weight, _ in parts])
        if attention.query.bias is not None:
            linear.bias = torch.cat([bias for _, bias in parts])
    spec.linear[-1].weight = pad_heads(attention.output.weight.T, heads, width).T.contiguous()
    if attention.output.bias is not None:
        spec.linear[-1].bias = attention.output.bias.detach()
    if sizes.d_k != width:
        spec.queries_scale = 1 / math.sqrt(sizes.d_k)
    _set_norm(spec.layer_norm, norm)


def _set_feed_forward(spec: Any, feed_forward: FeedForward, norm: nn.LayerNorm) -> None:
    for linear_spec, linear in ((spec.linear_0, feed_forward.inner), (spec.linear_1, feed_forward.outer)):
        linear_spec.weight = linear.weight.detach()
        if linear.bias is not None:
            linear_spec.bias = linear.bias.detach()
    _set_norm(spec.layer_norm, norm)


def _set_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = norm.weight.detach(), norm.bias.detach()


def _set_embedding(spec: Any, side: Any, embedding: Embedding, positions: int) -> None:
    spec.weight = embedding.tokens.weight.detach()
    side.position_encodings.encodings = embedding.position_encodings(0, embedding.max_positions or positions).detach()
    if isinstance(embedding.norm, nn.LayerNorm):
        _set_norm(side.layernorm_embedding, embedding.norm)


def _set_output(spec: Any, output: nn.Linear) -> None:
    bias = torch.zeros(len(output.weight)) if output.bias is None else output.bias.detach().clone()
    bias[NEVER_GENERATED] = _EXCLUDED_LOGIT
    spec.weight, spec.bias = output.weight.detach(), bias


def _set_vocabularies(spec: Any, bundle: Bundle) -> None:
    source, target = bundle.tokenizer, bundle.tokenizer.target
    spec.register_source_vocabulary(vocabulary_of(source).names)
    spec.register_target_vocabulary(vocabulary_of(target).names)
    config = spec.config
    names = vocabulary_of(target).names
    config.unk_token, config.bos_token, config.eos_token = (names[i] for i in (UNK, BOS, EOS))
    config.decoder_start_token = config.bos_token
    config.add_source_eos = bundle.config.model.source_end
    config.layer_norm_epsilon = bundle.config.model.norm_epsilon
