"""Section 3: the whole model (figure 1).

Dimensions: batch: sentences; rows: batch · beam; source, target: positions; d_model: width; vocab: vocabulary size.
Token ids are padded at the end with `pad_id`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.config import ModelConfig
from allyouneed.model import forks
from allyouneed.model.cache import DecoderCache
from allyouneed.model.embedding import Embedding
from allyouneed.model.layers import DecoderLayer, EncoderLayer, Stack
from allyouneed.model.masks import future_mask, without_last
from allyouneed.model.packing import PackedMask
from allyouneed.model.probe import Probe, active_probe


class Encoder(nn.Module):
    """A stack of identical layers. Norm "pre" adds a final norm, since its residual sums are not normalised, unless the
    setting `final_norm` decides otherwise."""

    def __init__(self, config: ModelConfig, plain: bool = False):
        super().__init__()
        self.layers = Stack(EncoderLayer(config, index, plain) for index in range(config.encoder_layers))
        self.norm = _final_norm(config, "encoder")

    def forward(self, x: Tensor, mask: Tensor | PackedMask, probe: Probe | None = None) -> Tensor:
        """Apply all layers; arguments and result are those of `EncoderLayer.forward`."""
        for layer in self.layers:
            x = layer(x, mask, probe)
        return _normalised(x, self.norm, "encoder output", probe)


class Decoder(nn.Module):
    """A stack like the encoder's, with a third sub-layer and a mask of later positions."""

    def __init__(self, config: ModelConfig, plain: bool = False):
        super().__init__()
        self.layers = Stack(DecoderLayer(config, index, plain) for index in range(config.decoder_layers))
        self.norm = _final_norm(config, "decoder")

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | PackedMask,
        memory_mask: Tensor | PackedMask,
        probe: Probe | None = None,
    ) -> Tensor:
        """Apply all layers; arguments and result are those of `DecoderLayer.forward`."""
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask, probe)
        return _normalised(x, self.norm, "decoder output", probe)

    def start(self, memory: Tensor, memory_mask: Tensor, probe: Probe | None = None) -> DecoderCache:
        """Make the cache for `step` from memory [batch, source, d_model] and its mask [batch, 1, 1, source]."""
        return DecoderCache([layer.start(memory, probe) for layer in self.layers], memory_mask)

    def step(self, x: Tensor, cache: DecoderCache, probe: Probe | None = None) -> Tensor:
        """Apply all layers to the next position of every hypothesis, x [rows, 1, d_model], and extend the cache."""
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer.step(x, layer_cache, cache.source_mask, probe)
        cache.length += 1
        return _normalised(x, self.norm, "decoder output", probe)


def _final_norm(config: ModelConfig, stack: str) -> nn.Module:
    return nn.LayerNorm(config.d_model, config.norm_epsilon) if config.has_final_norm(stack) else nn.Identity()


def _normalised(x: Tensor, norm: nn.Module, kind: str, probe: Probe | None) -> Tensor:
    """Apply the final norm of a stack, the identity if it has none, and observe its result."""
    result: Tensor = norm(x)
    if probe is not None:
        result = probe.replace((kind, 0), "result", result)
        probe.observe((kind, 0), result=result)
    return result


class Transformer(nn.Module):
    """The Transformer of figure 1: target token i + 1 is predicted from the source and target tokens 0..i.

    The setting `tie_embeddings` selects whether both embeddings and the pre-softmax linear share one matrix (section
    3.4), only the target embedding and the linear do ("target"), only the embeddings do ("inputs"), or none. A call has
    no side effects: threads can share a model.

    Args:
        config: Settings of the model.
        vocab_size: Size of the source vocabulary.
        pad_id: Id of the padding token.
        target_vocab_size: Size of the target vocabulary, if it differs from the source vocabulary.
        plain: Use the reference implementation throughout: padded batches, equation 1 step by step, PyTorch's dropout
            and matrix products.

    Raises:
        ValueError: If vocabularies of different sizes are to share one matrix.
    """

    variant = ""  # name of a subclass that computes something else with the same settings; a bundle records it
    packable = True  # subclasses that need padded batches set this to False, see `packed_forward.can_pack`

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        pad_id: int = 0,
        target_vocab_size: int | None = None,
        plain: bool = False,
    ):
        super().__init__()
        forks.guard()
        self.config, self.vocab_size, self.pad_id, self.plain = config, vocab_size, pad_id, plain
        target_size = target_vocab_size or vocab_size
        is_shared = config.tie_embeddings in (True, "inputs")
        if is_shared and target_size != vocab_size:
            raise ValueError(f"vocabularies of {vocab_size} and {target_size} tokens cannot share one matrix")
        source_tokens = nn.Embedding(vocab_size, config.d_model)
        self.source_embedding = Embedding(source_tokens, config, plain, site=("source", 0))
        target_tokens = source_tokens if is_shared else nn.Embedding(target_size, config.d_model)
        self.target_embedding = Embedding(target_tokens, config, plain, site=("target", 0))
        self.encoder = Encoder(config, plain)
        self.decoder = Decoder(config, plain)
        self.output = nn.Linear(config.d_model, target_size, bias=config.output_bias)
        self._tie_output()
        self.register_load_state_dict_post_hook(Transformer._tie_output)  # type: ignore[no-untyped-call]
        self._initialise()

    def forward(self, source_ids: Tensor, target_ids: Tensor, probe: Probe | None = None) -> Tensor:
        """Compute the logits of every next target token.

        Args:
            source_ids: Source token ids, shape [batch, source].
            target_ids: Target token ids, beginning with the start token, shape [batch, target].
            probe: Probe that observes or changes this pass.

        Returns:
            Logits, shape [batch, target, vocab].
        """
        return self.output(self.hidden(source_ids, target_ids, probe))

    def hidden(self, source_ids: Tensor, target_ids: Tensor, probe: Probe | None = None) -> Tensor:
        """Compute the input of the pre-softmax linear, shape [batch, target, d_model]; see `forward`."""
        memory, memory_mask = self.encode(source_ids, probe)
        return self.decode(target_ids, memory, memory_mask, probe)

    def encode(self, source_ids: Tensor, probe: Probe | None = None) -> tuple[Tensor, Tensor]:
        """Encode source_ids [batch, source] to memory [batch, source, d_model] and its mask [batch, 1, 1, source]."""
        forks.warn_if_limited()
        probe = active_probe(self, probe)
        mask = self.source_mask(source_ids)
        return self.encoder(self.source_embedding(source_ids, probe=probe), mask, probe), mask

    def source_tokens(self, source_ids: Tensor) -> Tensor:
        """Mark the tokens that attention sees, without padding and, by setting, without the end. -> [batch, source]."""
        is_token = source_ids != self.pad_id
        return is_token if self.config.source_end else without_last(is_token)

    def source_mask(self, source_ids: Tensor) -> Tensor:
        """Return the mask of `source_tokens`: ids [batch, source] -> [batch, 1, 1, source]."""
        return self.source_tokens(source_ids)[:, None, None, :]

    def decode(self, target_ids: Tensor, memory: Tensor, memory_mask: Tensor, probe: Probe | None = None) -> Tensor:
        """Decode all target positions in parallel, each without access to later ones. -> [batch, target, d_model].

        Padding is at the end of a target, so the mask of later positions also hides it from all tokens.
        """
        probe = active_probe(self, probe)
        mask = future_mask(target_ids.shape[1], target_ids.device)
        return self.decoder(self.target_embedding(target_ids, probe=probe), memory, mask, memory_mask, probe)

    def start(self, source_ids: Tensor, probe: Probe | None = None) -> DecoderCache:
        """Encode source_ids [batch, source] for `decode_step`."""
        return self.decoder.start(*self.encode(source_ids, probe), active_probe(self, probe))

    def decode_step(self, tokens: Tensor, cache: DecoderCache, probe: Probe | None = None) -> Tensor:
        """Compute the next logits [rows, vocab] from the last token of every hypothesis, tokens [rows]."""
        probe = active_probe(self, probe)
        x = self.target_embedding(tokens[:, None], cache.length, probe)
        return self.output(self.decoder.step(x, cache, probe)[:, 0])

    def num_parameters(self) -> int:
        """Count the parameters; a shared matrix is counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _tie_output(self, incompatible_keys: object = None) -> None:
        """Share the target embedding's matrix; loading with `assign=True` and `to_empty` undo the sharing."""
        if self.config.tie_embeddings in (True, "target"):
            self.output.weight = self.target_embedding.tokens.weight

    def _initialise(self) -> None:
        """Use Xavier for matrices, and unit variance after √d_model for embeddings; the paper does not specify this."""
        for name, parameter in self.named_parameters():
            if "tokens" in name or name == "output.weight":
                nn.init.normal_(parameter, std=self.config.d_model**-0.5)
            elif parameter.dim() > 1 and "positions" not in name:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


def log_probabilities(logits: Tensor) -> Tensor:
    """Compute log-softmax over the vocabulary in float32, shape [..., vocab]."""
    return F.log_softmax(logits.float(), dim=-1)
