"""A Transformer made ready for translating on a CPU: weights laid out for the kernels, a step in two calls.

The twin of `Transformer.start` and `Transformer.decode_step`, which it equals to rounding; and what it gives for a
sentence does not depend on the sentences beside it, bit by bit, since every number is summed in an order of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.data.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.model.transformer import Transformer
from allyouneed.translation.search import NEVER_SAID, Choice, Model

FLOAT32, INT8 = COMPUTE_TYPES = ("float32", "int8")  # CTranslate2's names
_NEVER = -1e29  # no logit of a word that may be said is so low
_BLOCK = 96  # rows that go through the decoder together


def engine_for(model: Model, compute_type: str = FLOAT32) -> Model:
    """The fast twin where there is one: of a Transformer in fp32 on a CPU, with Numba, widths that are multiples of 16,
    and ReLU; else the model.

    Errors: `UserError` for a compute_type that does not exist, or int8 where there is no twin, or no processor for it.
    """
    if compute_type not in COMPUTE_TYPES:
        raise UserError(f"compute_type = {compute_type}: choose {' or '.join(COMPUTE_TYPES)}.")
    if compute_type == INT8 and not (_has_twin(model) and _has_bytes()):
        raise UserError(
            "compute_type = int8 needs a processor with AVX-512 VNNI, Numba, and a model on the CPU with ReLU and "
            f"widths that are multiples of {kernels.LANES}. Leave it out: float32 always works."
        )
    return Engine(model, compute_type == INT8) if _has_twin(model) else model


def _has_twin(model: Model) -> bool:
    if not isinstance(model, Transformer) or model.plain or model.config.activation != "relu":
        return False
    config = model.config
    widths = (config.d_model, config.d_ff, config.key_size, config.value_size)
    return kernels.usable(model.output.weight) and all(width % kernels.LANES == 0 for width in widths)


def _has_bytes() -> bool:
    from allyouneed.kernels.product import has_bytes

    return has_bytes()


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
    """`start`, `decode_step` and `choose` over the weights that the model had when it was made; in 8 bits if wanted."""

    def __init__(self, model: Transformer, in_bytes: bool = False):
        from allyouneed.kernels.product import pack

        self.model, self.config, self.in_bytes = model, model.config, in_bytes
        self._held: list[Tensor] = []  # what addresses point to
        decoder = model.decoder.layers
        self.encoder_layers = torch.tensor([self._encoder_layer(layer) for layer in model.encoder.layers])
        self.layers = torch.tensor([self._decoder_layer(layer) for layer in decoder])
        cross = [linear for layer in decoder for linear in (layer.cross_attention.key, layer.cross_attention.value)]
        ends = [self._norm(side.norm) if self.norm_first else (0, 0) for side in (model.encoder, model.decoder)]
        self.encoder_end, self.last_norm = torch.tensor([*ends[0], *self._matrix(*cross)]), torch.tensor(ends[1])
        self.memory_width, self.words = sum(linear.out_features for linear in cross), model.output.out_features
        self.output = pack(model.output.weight, _bias(model.output), in_bytes)
        self.never = torch.tensor(NEVER_SAID)
        self.rounded = None if in_bytes else self._rounded()

    def _rounded(self) -> tuple[Tensor, ...] | None:
        from allyouneed.kernels.screen import round_words

        if not _has_bytes():
            return None
        bias = _bias(self.model.output)
        bias[NEVER_SAID] = -1e30
        return round_words(self.model.output.weight, bias)

    @property
    def norm_first(self) -> bool:
        return self.config.norm == "pre"

    @property
    def _sizes(self) -> tuple[int, ...]:
        config = self.config
        return config.d_model, config.d_ff, config.num_heads, config.key_size, config.value_size

    @torch.inference_mode()
    def start(self, source_ids: Tensor) -> Cache:
        """Encodes source_ids [sentences, source], padded, for `decode_step`."""
        from allyouneed.kernels.encoder import encode

        ids = source_ids.numpy()
        real = ids != self.model.pad_id
        starts = np.concatenate([[0], real.sum(1).cumsum()])
        longest, tokens = int(np.diff(starts).max(initial=0)), int(starts[-1])
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)[real]
        groups = np.append(np.unique(starts[:-1] // _BLOCK, return_index=True)[1], len(ids))
        most = int(np.diff(starts[groups]).max(initial=0))
        d_model, d_ff, heads, d_k, d_v = self._sizes
        room = _whole_lanes(longest)
        widest = 2 * d_model + heads * (2 * d_k + 2 * d_v + 1) + d_ff
        scratch = self._scratch(len(groups) - 1, most * widest + (d_k + 4) * room, most)
        embedding, memory = self.model.source_embedding, torch.empty(tokens, self.memory_width)
        given = (groups, starts, ids[real], places, embedding.tokens.weight, embedding._positions(0, longest))
        weights = (len(self.encoder_layers), self.encoder_layers, self.encoder_end, self.norm_first)
        sizes = (*self._sizes, self.memory_width, room, self.in_bytes)
        encode(len(groups) - 1, *given, *weights, *sizes, *scratch, most, memory, float(embedding.scale))
        return Cache(memory, starts, longest)

    @torch.inference_mode()
    def decode_step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The last token of every row -> logits of the next [rows, vocabulary]."""
        from allyouneed.kernels.product import multiply

        return multiply(self._hidden(tokens.numpy(), cache), self.output)[:, : self.words]

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
        padded = words.errors.shape[1]
        choose(parts, block, rows, hidden, depth, *words, padded, EOS, count, *found[:3], fits, scratch)
        return np.flatnonzero(fits == 0)

    def _choose(self, hidden: Tensor, count: int, found: tuple[np.ndarray, ...]) -> None:
        from allyouneed.kernels.decoder import CHUNK, choose

        rows, block = len(hidden), min(len(hidden), _BLOCK)
        parts = -(-rows // _BLOCK)
        given = (hidden, self.config.d_model, *self.output[:2], self.words, self.never)
        scratch = (self.in_bytes, *self._scratch(parts, block * CHUNK, block))
        choose(parts, block, rows, *given, len(self.never), EOS, count, *found, *scratch)

    def _hidden(self, tokens: np.ndarray, cache: Cache) -> Tensor:
        """What the pre-softmax linear sees of each row's next position: [rows, d_model]."""
        from allyouneed.kernels.decoder import step

        embedding, rows = self.model.target_embedding, len(tokens)
        d_model, d_ff, heads, d_k, d_v = self._sizes
        position = embedding._positions(len(cache.kept), len(cache.kept) + 1)
        kept = cache.append(len(self.layers) * heads * (d_k + d_v))
        block, parts, length = min(rows, _BLOCK), -(-rows // _BLOCK), len(cache.kept)
        room = _whole_lanes(max(length, cache.longest))
        scratch = self._scratch(parts, block * (d_model + heads * (d_k + d_v) + d_ff) + room, block)
        out = torch.empty(rows, d_model)
        weights = (len(self.layers), self.layers, self.last_norm, self.norm_first)
        past = (kept, cache.seen, cache.seen.shape[1], length)
        source = (cache.source_rows, cache.sources, cache.longest)
        inputs = (np.ascontiguousarray(tokens, dtype=np.int64), embedding.tokens.weight, position)
        given = (*weights, *self._sizes, *past, *source, self.in_bytes, *scratch)
        step(parts, block, rows, *inputs, *given, out, float(embedding.scale))
        return out

    def _scratch(self, parts: int, floats: int, rows: int) -> tuple[Tensor, int]:
        """Room for so many floats a part, and for its widest rows in bytes; and the size of a part in bytes."""
        from allyouneed.kernels.product import bytes_size

        d_model, d_ff, heads, _, d_v = self._sizes
        size = floats + (bytes_size(rows, max(d_model, d_ff, heads * d_v)) if self.in_bytes else 0)
        return torch.empty(parts, size), 4 * size

    def _encoder_layer(self, layer: EncoderLayer) -> list[int]:
        """Addresses in the order of the names in `kernels/encoder.py`."""
        own, feed_forward = layer.self_attention, layer.feed_forward
        matrices = ((own.query, own.key, own.value), (own.output,), (feed_forward.inner,), (feed_forward.outer,))
        return self._layer(layer, matrices)

    def _decoder_layer(self, layer: DecoderLayer) -> list[int]:
        """The same, of those in `kernels/decoder.py`."""
        own, cross, feed_forward = layer.self_attention, layer.cross_attention, layer.feed_forward
        attention = ((own.query,), (own.key, own.value), (own.output,), (cross.query,), (cross.output,))
        return self._layer(layer, (*attention, (feed_forward.inner,), (feed_forward.outer,)))

    def _layer(self, layer: EncoderLayer | DecoderLayer, matrices: Sequence[Sequence[nn.Linear]]) -> list[int]:
        norms = [address for residual in layer.residuals for address in self._norm(residual.norm)]
        return norms + [address for linears in matrices for address in self._matrix(*linears)]

    def _matrix(self, *linears: nn.Linear) -> tuple[int, ...]:
        from allyouneed.kernels.product import pack

        weight, bias = (torch.cat(parts) for parts in zip(*((x.weight, _bias(x)) for x in linears), strict=True))
        return self._hold(*pack(weight, bias, self.in_bytes)[:2])

    def _norm(self, norm: nn.LayerNorm) -> tuple[int, ...]:
        return self._hold(norm.weight.detach().clone(), norm.bias.detach().clone())

    def _hold(self, *tensors: Tensor) -> tuple[int, ...]:
        self._held += tensors
        return tuple(tensor.data_ptr() for tensor in tensors)


def _whole_lanes(count: int) -> int:
    return -(-count // kernels.LANES) * kernels.LANES


def _bias(linear: nn.Linear) -> Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().clone()
