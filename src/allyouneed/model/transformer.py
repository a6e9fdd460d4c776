"""Section 3: the whole model, figure 1.

Shapes: batch; source, target: positions; d_model; vocabulary. Ids are padded at the end with `pad_id`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.config import ModelConfig
from allyouneed.model.cache import DecoderCache
from allyouneed.model.embedding import Embedding
from allyouneed.model.layers import DecoderLayer, EncoderLayer, Stack
from allyouneed.model.masks import future_mask, padding_mask
from allyouneed.model.packing import Packed, PackedMask, flash_attention_works


class Encoder(nn.Module):
    """A stack of identical layers. Pre-norm needs one more norm at the end, since its sums are never normed."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.layers = Stack(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | PackedMask) -> Tensor:
        """x [batch, source, d_model], mask [batch, 1, 1, source] -> like x; packed, [tokens, d_model]."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Decoder(nn.Module):
    """As the encoder, with a third sub-layer and a mask on the future."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.layers = Stack(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | PackedMask, memory_mask: Tensor | PackedMask) -> Tensor:
        """x [batch, target, d_model], memory [batch, source, d_model], masks [target, target] and [batch, 1, 1, source]
        -> like x; packed, [tokens, d_model]."""
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask)
        return self.norm(x)

    def start(self, memory: Tensor, memory_mask: Tensor) -> DecoderCache:
        """What `step` keeps, of memory [batch, source, d_model] and its mask [batch, 1, 1, source]."""
        return DecoderCache([layer.start(memory) for layer in self.layers], memory_mask)

    def step(self, x: Tensor, cache: DecoderCache) -> Tensor:
        """One position of every hypothesis, x [batch · beam, 1, d_model] -> like x. It stays in the cache."""
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer.step(x, layer_cache, cache.source_mask)
        cache.length += 1
        return self.norm(x)


class Transformer(nn.Module):
    """logits = model(source_ids, target_ids): target position i is predicted from source and target 0..i.

    One matrix is shared by both embeddings and the pre-softmax linear (3.4) unless `tie_embeddings` is off or
    "target"; only then the target may have a vocabulary of another size. Errors: `ValueError` for one that is shared.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, pad_id: int = 0, target_vocab_size: int | None = None):
        super().__init__()
        self.config, self.vocab_size, self.pad_id = config, vocab_size, pad_id
        self.plain = False  # see `plain.py`

        def tokens(count: int) -> nn.Embedding:
            return nn.Embedding(count, config.d_model)

        def embedding(matrix: nn.Embedding) -> Embedding:
            return Embedding(matrix, config.positions, config.max_positions, config.dropout)

        target_size = target_vocab_size or vocab_size
        if config.tie_embeddings is True and target_size != vocab_size:
            raise ValueError(f"one matrix cannot be of {vocab_size} words and of {target_size}: see tie_embeddings")
        shared = tokens(vocab_size)
        self.source_embedding = embedding(shared)
        of_target = shared if config.tie_embeddings is True else tokens(target_size)
        self.target_embedding = embedding(of_target)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.output = nn.Linear(config.d_model, target_size, bias=config.output_bias)
        self._tie_output()
        self.register_load_state_dict_post_hook(Transformer._tie_output)  # type: ignore[no-untyped-call]
        self._initialise()

    def forward(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """source_ids [batch, source], target_ids [batch, target] -> logits [batch, target, vocabulary]."""
        return self.output(self.hidden(source_ids, target_ids))

    def hidden(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """What the pre-softmax linear sees: [batch, target, d_model]."""
        memory, memory_mask = self.encode(source_ids)
        return self.decode(target_ids, memory, memory_mask)

    def packed_hidden(self, source: Packed, target: Packed) -> Tensor:
        """`hidden` without padding: [target tokens, d_model]. Where `packs` says so."""
        memory = self.source_embedding.packed(source.ids, source.places, source.longest)
        memory = self.encoder(memory, PackedMask(source, source))
        x = self.target_embedding.packed(target.ids, target.places, target.longest)
        return self.decoder(x, memory, PackedMask(target, target, causal=True), PackedMask(target, source))

    def packs(self) -> bool:
        """Whether attention can do without padding here: by our kernels on a CPU, by FlashAttention on CUDA."""
        weight, d_k, d_v = self.output.weight, self.config.key_size, self.config.value_size
        half = torch.is_autocast_enabled(weight.device.type)
        if self.plain:
            return False
        if weight.device.type == "cuda":
            return half and d_k == d_v and d_k % 8 == 0 and flash_attention_works(weight.device, d_k)
        return not half and kernels.usable(weight) and d_k % kernels.LANES == 0 and d_v % kernels.LANES == 0

    def encode(self, source_ids: Tensor) -> tuple[Tensor, Tensor]:
        """source_ids [batch, source] -> memory [batch, source, d_model] and its mask [batch, 1, 1, source]."""
        mask = padding_mask(source_ids, self.pad_id)
        return self.encoder(self.source_embedding(source_ids), mask), mask

    def decode(self, target_ids: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """All target positions at once, each blind to its future. -> [batch, target, d_model].

        Padding stands at the end, where only padding sees it: hiding the future hides it too.
        """
        mask = future_mask(target_ids.shape[1], target_ids.device)
        return self.decoder(self.target_embedding(target_ids), memory, mask, memory_mask)

    def start(self, source_ids: Tensor) -> DecoderCache:
        """Encodes source_ids [batch, source] for `decode_step`."""
        return self.decoder.start(*self.encode(source_ids))

    def decode_step(self, tokens: Tensor, cache: DecoderCache) -> Tensor:
        """The last token of every hypothesis [batch · beam] -> logits of the next [batch · beam, vocabulary]."""
        x = self.target_embedding(tokens[:, None], start=cache.length)
        return self.output(self.decoder.step(x, cache)[:, 0])

    def num_parameters(self) -> int:
        """A matrix that is shared counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _tie_output(self, incompatible_keys: object = None) -> None:
        """Share the target embedding's matrix; loading with `assign=True` and `to_empty` separate the two."""
        if self.config.tie_embeddings:
            self.output.weight = self.target_embedding.tokens.weight

    def _initialise(self) -> None:
        """The paper gives none: Xavier for matrices; embeddings of unit variance once multiplied by √d_model."""
        for name, parameter in self.named_parameters():
            if "tokens" in name or name == "output.weight":
                nn.init.normal_(parameter, std=self.config.d_model**-0.5)
            elif parameter.dim() > 1 and "positions" not in name:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


def log_probabilities(logits: Tensor) -> Tensor:
    """[..., vocabulary] -> natural logarithms of probabilities, in fp32."""
    return F.log_softmax(logits.float(), dim=-1)
