"""A Transformer made ready for translating on a CPU: weights laid out for the kernels, a step in two calls.

The twin of `Transformer.start` and `Transformer.decode_step`, which it equals to rounding; and what it gives for a
sentence does not depend on the sentences beside it, bit by bit, since every number is summed in an order of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.data.tokenizer import EOS
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.model.packing import Packed, pack
from allyouneed.model.transformer import Transformer
from allyouneed.translation.search import NEVER_SAID, Choice, Model

_NEVER = -1e29  # no logit of a word that may be said is so low
_BLOCK = 96  # rows that go through the decoder together


def engine_for(model: Model) -> Model:
    """The fast twin where there is one: of a Transformer in fp32 on a CPU, with Numba, widths that are multiples of 16,
    and ReLU; else the model."""
    if not isinstance(model, Transformer) or model.plain or model.config.activation != "relu":
        return model
    config = model.config
    widths = (config.d_model, config.d_ff, config.key_size, config.value_size)
    ready = kernels.usable(model.output.weight) and all(width % kernels.LANES == 0 for width in widths)
    return Engine(model) if ready else model


class Cache:
    """What decoding keeps. seen [rows, room]: addresses of what each row has seen; kept: where it stands.

    memory: keys and values of the sources, whose addresses are `source_seen` [sentences, longest].
    """

    def __init__(self, memory: Tensor, starts: np.ndarray, longest: int):
        self.memory, self.longest = memory, longest
        places = np.minimum(starts[:-1, None] + np.arange(longest), max(0, len(memory) - 1))
        self.source_seen = memory.data_ptr() + 4 * memory.shape[1] * places
        first = self.source_seen.__array_interface__["data"][0]
        self.sources = np.diff(starts)  # of each row, as the next two
        self.source_rows = first + self.source_seen.strides[0] * np.arange(len(self.sources))
        self.seen = np.empty((len(self.sources), 32), dtype=np.int64)
        self.kept: list[Tensor] = []

    def select(self, rows: Tensor) -> None:
        rows = rows.numpy()
        self.seen, self.source_rows, self.sources = self.seen[rows], self.source_rows[rows], self.sources[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Nothing: a row knows its sentence."""

    def append(self, width: int) -> Tensor:
        """Room for the keys and values of one more position [rows, width], which is the last that each row sees."""
        length, rows = len(self.kept), len(self.sources)
        if length == self.seen.shape[1]:
            self.seen = np.concatenate([self.seen, np.empty_like(self.seen)], axis=1)
        self.kept.append(torch.empty(rows, width))
        self.seen[:, length] = self.kept[-1].data_ptr() + 4 * width * np.arange(rows)
        return self.kept[-1]


class Engine:
    """`start`, `decode_step` and `choose` over the weights that the model had when it was made."""

    def __init__(self, model: Transformer):
        from allyouneed.kernels.product import pack

        self.model, self.config = model, model.config
        self._held: list[Tensor] = []  # what addresses point to
        decoder = model.decoder.layers
        self.encoder_layers = [_EncoderWeights(layer) for layer in model.encoder.layers]
        self.layers = torch.tensor([self._addresses(layer) for layer in decoder])
        norms = [model.decoder.norm] if self.norm_first else []
        self.last_norm = torch.tensor([address for norm in norms for address in self._norm(norm)] or [0, 0])
        cross = [linear for layer in decoder for linear in (layer.cross_attention.key, layer.cross_attention.value)]
        self.memory_weight = pack(torch.cat([linear.weight for linear in cross]))
        self.memory_bias = torch.cat([_bias(linear) for linear in cross])
        self.output, self.words = pack(model.output.weight), model.output.out_features
        self.output_bias = torch.cat([_bias(model.output), torch.zeros(-self.words % kernels.LANES)])
        self.never = torch.tensor(NEVER_SAID)
        self.rounded = self._rounded()

    def _rounded(self) -> tuple[Tensor, ...] | None:
        from allyouneed.kernels import screen

        if not screen.works():
            return None
        bias = self.output_bias[: self.words].clone()
        bias[NEVER_SAID] = -1e30
        return screen.round_words(self.model.output.weight, bias)

    @property
    def norm_first(self) -> bool:
        return self.config.norm == "pre"

    @torch.inference_mode()
    def start(self, source_ids: Tensor) -> Cache:
        """Encodes source_ids [sentences, source], padded, for `decode_step`."""
        from allyouneed.kernels.product import multiply

        packed = pack(source_ids, source_ids != self.model.pad_id)
        memory = multiply(self.encode(packed), self.memory_weight, self.memory_bias)
        return Cache(memory, packed.starts.numpy(), packed.longest)

    def encode(self, packed: Packed) -> Tensor:
        """-> [tokens, d_model], sentences one after another, as `packed` has them."""
        from allyouneed.kernels.decoder import embed

        embedding = self.model.source_embedding
        positions = embedding._positions(0, packed.longest)
        x = embed(packed.ids, embedding.tokens.weight, packed.places, positions, embedding.scale)
        for layer in self.encoder_layers:
            x = layer.forward(x, packed, self.config.num_heads, self.norm_first)
        return _normed(x, self.model.encoder.norm) if self.norm_first else x

    @torch.inference_mode()
    def decode_step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The last token of every row -> logits of the next [rows, vocabulary]."""
        from allyouneed.kernels.product import multiply

        hidden = self._hidden(tokens.numpy(), cache)
        return multiply(hidden, self.output, self.output_bias)[:, : self.words]

    def choose(self, tokens: np.ndarray, cache: Cache, count: int, scores: bool = True) -> Choice:
        """The likeliest `count` words of each row, without keeping all logits.

        Without `scores` the log probabilities may lack the normaliser of their row: its best words are the same, ties
        of rounding aside.
        """
        hidden = self._hidden(tokens, cache)
        rows, count = len(hidden), min(count, self.words)
        found = (
            np.empty((rows, count), dtype=np.float32),
            np.empty((rows, count), dtype=np.int64),
            np.empty(rows, dtype=np.float32),
            np.zeros(rows, dtype=np.float32),
        )
        left = np.arange(rows) if scores or not self.rounded else self._screen(hidden, count, found)
        if len(left):
            theirs = tuple(x[left] for x in found)
            self._choose(hidden if len(left) == rows else hidden[torch.from_numpy(left)], count, theirs)
            for x, values in zip(found, theirs, strict=True):
                x[left] = values
        tops, words, ends, normalisers = found
        tops[tops <= _NEVER] = -np.inf  # places of words that are never said, where there were not enough others
        return Choice(tops - normalisers[:, None], words, ends - normalisers)

    def _screen(self, hidden: Tensor, count: int, found: tuple[np.ndarray, ...]) -> np.ndarray:
        """By a look in 8 bits, fp32 for what counts. -> the rows for which that would be too much."""
        from allyouneed.kernels.screen import choose, scratch_size

        (rows, depth), words = hidden.shape, self.rounded
        block, parts = min(rows, _BLOCK), -(-rows // _BLOCK)
        scratch = torch.empty(parts, scratch_size(block, depth, count))
        fits = np.zeros(rows, dtype=np.int64)
        choose(parts, block, rows, hidden, depth, *words, len(words.bias), EOS, count, *found[:3], fits, scratch)
        return np.flatnonzero(fits == 0)

    def _choose(self, hidden: Tensor, count: int, found: tuple[np.ndarray, ...]) -> None:
        from allyouneed.kernels.decoder import CHUNK, choose

        rows, block = len(hidden), min(len(hidden), _BLOCK)
        parts = -(-rows // _BLOCK)
        scratch = torch.empty(parts, block, CHUNK)
        given = (hidden, self.config.d_model, self.output, self.output_bias, self.words, self.never)
        choose(parts, block, rows, *given, len(self.never), EOS, count, *found, scratch)

    def _hidden(self, tokens: np.ndarray, cache: Cache) -> Tensor:
        """What the pre-softmax linear sees of each row's next position: [rows, d_model]."""
        from allyouneed.kernels.decoder import step

        config, embedding = self.config, self.model.target_embedding
        rows, heads, d_k, d_v = len(tokens), config.num_heads, config.key_size, config.value_size
        position = embedding._positions(len(cache.kept), len(cache.kept) + 1)
        kept = cache.append(len(self.layers) * heads * (d_k + d_v))
        block, parts = min(rows, _BLOCK), -(-rows // _BLOCK)
        length = len(cache.kept)
        room = -(-max(length, cache.longest) // kernels.LANES) * kernels.LANES
        scratch = torch.empty(parts, block * (config.d_model + heads * (d_k + d_v) + config.d_ff) + room)
        out = torch.empty(rows, config.d_model)
        weights = (len(self.layers), self.layers, self.last_norm, self.norm_first)
        sizes = (config.d_model, config.d_ff, heads, d_k, d_v)
        past = (kept, cache.seen, cache.seen.shape[1], length)
        source = (cache.source_rows, cache.sources, cache.longest)
        tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        inputs = (tokens, embedding.tokens.weight, position)
        step(parts, block, rows, *inputs, *weights, *sizes, *past, *source, scratch, out, float(embedding.scale))
        return out

    def _addresses(self, layer: DecoderLayer) -> list[int]:
        """In the order of the names in `kernels/decoder.py`."""
        own, cross, feed_forward = layer.self_attention, layer.cross_attention, layer.feed_forward
        return [
            *(address for residual in layer.residuals for address in self._norm(residual.norm)),
            *self._matrix(own.query),
            *self._matrix(own.key, own.value),
            *self._matrix(own.output),
            *self._matrix(cross.query),
            *self._matrix(cross.output),
            *self._matrix(feed_forward.inner),
            *self._matrix(feed_forward.outer),
        ]

    def _matrix(self, *linears: nn.Linear) -> tuple[int, int]:
        from allyouneed.kernels.product import pack

        return self._hold(pack(torch.cat([linear.weight for linear in linears])), torch.cat([*map(_bias, linears)]))

    def _norm(self, norm: nn.LayerNorm) -> tuple[int, int]:
        return self._hold(norm.weight.detach().clone(), norm.bias.detach().clone())

    def _hold(self, *tensors: Tensor) -> tuple[int, ...]:
        self._held += tensors
        return tuple(tensor.data_ptr() for tensor in tensors)


class _EncoderWeights:
    def __init__(self, layer: EncoderLayer):
        from allyouneed.kernels.product import pack

        attention: MultiHeadAttention = layer.self_attention
        linears = (attention.query, attention.key, attention.value, attention.output)
        self.query, self.key, self.value, self.output, self.inner, self.outer = (
            (pack(linear.weight), _bias(linear))
            for linear in (*linears, layer.feed_forward.inner, layer.feed_forward.outer)
        )
        self.norms = [residual.norm for residual in layer.residuals]

    def forward(self, x: Tensor, packed: Packed, heads: int, norm_first: bool) -> Tensor:
        """x [tokens, d_model], in place."""
        from allyouneed.kernels.attention import Within, attend
        from allyouneed.kernels.product import ADD, RELU, multiply

        a = _normed(x, self.norms[0]) if norm_first else x
        projected = (multiply(a, *matrix) for matrix in (self.query, self.key, self.value))
        mixed, _ = attend(*projected, heads, Within(packed.starts, packed.starts, packed.longest, causal=False))
        x = multiply(mixed, *self.output, ADD, x)
        x = x if norm_first else _normed(x, self.norms[0])
        a = _normed(x, self.norms[1]) if norm_first else x
        x = multiply(multiply(a, *self.inner, RELU), *self.outer, ADD, x)
        return x if norm_first else _normed(x, self.norms[1])


def _normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    from allyouneed.kernels.decoder import normalise

    return normalise(x, norm.weight, norm.bias)


def _bias(linear: nn.Linear) -> Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().clone()
