"""A Transformer made ready for translating on a CPU: weights laid out for the kernels, a step in one call.

The twin of `Transformer.start` and `Transformer.decode_step`, which it equals to rounding; and what it gives for a
sentence does not depend on the sentences beside it, bit by bit, since every number is summed in an order of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.data.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.model.transformer import Transformer
from allyouneed.translation.search import NEVER_GENERATED, Model, TopTokens, length_penalty

FLOAT32, INT8 = COMPUTE_TYPES = ("float32", "int8")  # CTranslate2's names
_BLOCK = 96  # rows that go through the decoder together
_STEPS = 16  # of a search, until rows of blocks that have become small are put together again


def engine_for(model: Model, compute_type: str = FLOAT32) -> Model:
    """The fast twin where there is one: of a Transformer in fp32 on a CPU, with Numba, widths that are multiples of 16,
    and ReLU; else the model.

    Errors: `UserError` for a compute_type that does not exist, or int8 where there is no twin, or no processor for it.
    """
    if compute_type not in COMPUTE_TYPES:
        raise UserError(f"compute_type = {compute_type}: choose {' or '.join(COMPUTE_TYPES)}.")
    if compute_type == INT8 and not (_has_twin(model) and kernels.target.has_vnni()):
        raise UserError(
            "compute_type = int8 needs a processor with AVX-512 VNNI, Numba, and a model on the CPU with ReLU and "
            f"widths that are multiples of {kernels.LANES}. Leave it out: float32 always works."
        )
    return Engine(model, compute_type == INT8) if _has_twin(model) else model


def _has_twin(model: Model) -> TypeGuard[Transformer]:
    if not isinstance(model, Transformer) or model.plain or model.config.activation != "relu":
        return False
    config = model.config
    widths = (config.d_model, config.d_ff, config.key_size, config.value_size)
    return kernels.usable(model.output.weight) and all(width % kernels.LANES == 0 for width in widths)


class Cache:
    """What decoding keeps. seen [rows, room]: addresses of what each row has seen; kept: where it stands.

    memory: keys and values of the sources, whose addresses are `source_seen` [sentences, longest].
    """

    def __init__(self, memory: Tensor, starts: np.ndarray, longest: int):
        self.memory, self.longest = memory, longest
        places = np.minimum(starts[:-1, None] + np.arange(longest), max(0, len(memory) - 1))
        self.source_seen = memory.data_ptr() + 4 * memory.shape[1] * places
        first = _address(self.source_seen)
        self.sources = np.diff(starts)  # of each row, as the next two
        self.source_rows = first + self.source_seen.strides[0] * np.arange(len(self.sources))
        self.seen = np.empty((len(self.sources), 32), dtype=np.int64)
        self.kept: list[np.ndarray] = []
        self.length = 0  # positions seen

    def select(self, rows: Tensor | np.ndarray) -> None:
        order = np.asarray(rows)
        self.seen, self.source_rows, self.sources = self.seen[order], self.source_rows[order], self.sources[order]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Nothing: a row knows its sentence."""

    def widen(self, beam: int) -> None:
        """Room for what so many hypotheses of each sentence will see, before the first step."""
        self.seen = np.empty((beam * len(self.sources), self.seen.shape[1]), dtype=np.int64)

    def select_beams(self, sentences: np.ndarray, beam: int) -> None:
        """As `select`, where a sentence has so many rows of `seen`, and one of the others."""
        room = self.seen.shape[1]
        self.seen = self.seen.reshape(-1, beam, room)[sentences].reshape(-1, room)
        self.source_rows, self.sources = self.source_rows[sentences], self.sources[sentences]

    def append(self, positions: int, rows: int, width: int) -> np.ndarray:
        """Room for keys and values of more positions, of `rows` of that width at each."""
        missing = self.length + positions - self.seen.shape[1]
        if missing > 0:
            more = np.empty((len(self.seen), max(missing, self.seen.shape[1])), dtype=np.int64)
            self.seen = np.concatenate([self.seen, more], axis=1)
        self.kept.append(np.empty((positions, rows, width), dtype=np.float32))
        self.length += positions
        return self.kept[-1]


class Engine:
    """`start`, `decode_step`, `choose` and whole searches over the weights that the model had when this was made.

    in_bytes: all matrices in 8 bits, rounded by column, and what they are multiplied with by row.
    """

    def __init__(self, model: Transformer, in_bytes: bool = False):
        self.model, self.config, self.in_bytes = model, model.config, in_bytes
        self._held: list[Tensor] = []  # what addresses point to
        decoder = model.decoder.layers
        self.encoder_layers = torch.tensor([self._encoder_layer(layer) for layer in model.encoder.layers])
        self.layers = torch.tensor([self._decoder_layer(layer) for layer in decoder])
        cross = [linear for layer in decoder for linear in (layer.cross_attention.key, layer.cross_attention.value)]
        norms = (model.encoder.norm, model.decoder.norm)  # with norm "pre", else they are none
        ends = [self._norm(norm) if isinstance(norm, nn.LayerNorm) else (0, 0) for norm in norms]
        self.encoder_end = torch.tensor([*ends[0], *self._matrix(*cross)])
        self.memory_width, self.words = sum(linear.out_features for linear in cross), model.output.out_features
        self.kept_width = self.memory_width  # of a position: the same of self-attention as of cross-attention
        self.output = kernels.product.pack(model.output.weight, _bias(model.output), in_bytes)
        self.never = torch.tensor(NEVER_GENERATED)
        self.table = self._table(ends[1])

    def _table(self, last_norm: tuple[int, ...]) -> np.ndarray:
        """What a decoder is: see the places in `decoder.py`."""
        from allyouneed.translation.engine import decoder as at

        embedding, output = self.model.target_embedding, self.model.output
        weight = embedding.tokens.weight.detach().contiguous()
        self._hold(weight)
        table = np.zeros(at.MODEL, dtype=np.int64)
        table[at.LAYERS], table[at.WEIGHTS] = len(self.layers), self.layers.data_ptr()
        table[at.NORM_FIRST], table[at.IN_BYTES] = self.norm_first, self.in_bytes
        table[at.LAST_NORM : at.LAST_NORM_BIAS + 1] = last_norm
        table[at.D_MODEL : at.D_V + 1] = self._sizes
        table[at.EMBEDDING], table[at.SCALE] = weight.data_ptr(), kernels.launch.word_of_float(embedding.scale)
        table[at.WORDS], table[at.END] = self.words, EOS
        table[at.OUTPUT_PACKED], table[at.OUTPUT_FACTS] = (x.data_ptr() for x in self.output[:2])
        table[at.NEVER], table[at.NEVERS] = self.never.data_ptr(), len(self.never)
        if kernels.target.has_vnni() and not self.in_bytes:
            from allyouneed.translation.engine.screen import round_words

            bias = _bias(output)
            bias[NEVER_GENERATED] = kernels.IMPOSSIBLE
            places = slice(at.OUTPUT_WEIGHT, at.SCREEN_ERRORS + 1)
            table[places] = self._hold(*round_words(output.weight, bias))
        return table

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
        from allyouneed.translation.engine.encoder import encode

        ids = source_ids.numpy()
        real = ids != self.model.pad_id
        starts = np.concatenate([[0], real.sum(1).cumsum()])
        longest, tokens = int(np.diff(starts).max(initial=0)), int(starts[-1])
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)[real]
        groups = np.append(np.unique(starts[:-1] // _BLOCK, return_index=True)[1], len(ids))
        most = int(np.diff(starts[groups]).max(initial=0))
        d_model, d_ff, heads, d_k, d_v = self._sizes
        room = kernels.simd.whole_lanes(longest)
        widest = 2 * d_model + heads * (2 * d_k + 2 * d_v + 1) + d_ff
        scratch = self._scratch(len(groups) - 1, most * widest + (d_k + 4) * room, most)
        embedding, memory = self.model.source_embedding, torch.empty(tokens, self.memory_width)
        given = (groups, starts, ids[real], places, embedding.tokens.weight, embedding.position_encodings(0, longest))
        weights = (len(self.encoder_layers), self.encoder_layers, self.encoder_end, self.norm_first)
        sizes = (*self._sizes, self.memory_width, room, self.in_bytes)
        encode(len(groups) - 1, *given, *weights, *sizes, *scratch, most, memory, float(embedding.scale))
        return Cache(memory, starts, longest)

    @torch.inference_mode()
    def decode_step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The last token of every row -> logits of the next [rows, vocabulary]."""
        hidden = torch.from_numpy(self._step(tokens.numpy(), cache, 0, 0, 0, 0, 0, 0))
        return kernels.product.multiply_packed(hidden, self.output)[:, : self.words]

    def choose(self, tokens: np.ndarray, cache: Cache, count: int, scores: bool = True) -> TopTokens:
        """The likeliest `count` words of each row, without keeping all logits.

        Without `scores` the log probabilities may lack the normaliser of their row: its best words are the same, ties
        of rounding aside.
        """
        rows, count = len(tokens), min(count, self.words)
        tops, words = np.empty((rows, count), dtype=np.float32), np.empty((rows, count), dtype=np.int64)
        ends, normalisers = np.empty(rows, dtype=np.float32), np.empty(rows, dtype=np.float32)
        self._step(tokens, cache, count, scores, tops, words, ends, normalisers)
        tops[tops <= kernels.UNSAID] = -np.inf  # places for which there were not enough words
        return TopTokens(tops - normalisers[:, None], words, ends - normalisers)

    @torch.inference_mode()
    def greedy(self, source_ids: Tensor, longest: Sequence[int], scores: bool) -> tuple[np.ndarray, ...]:
        """The whole search, as `search.greedy` has it.

        -> ids and log probabilities [sentences, most] and how many of them count, the end included [sentences].
        """
        from allyouneed.translation.engine.greedy import greedy

        cache, limits = self.start(source_ids), np.asarray(longest, dtype=np.int64)
        tokens, sentences = np.full(len(limits), BOS, dtype=np.int64), np.arange(len(limits))
        most = int(limits.max(initial=0)) + 1
        said, log_p = np.empty((len(limits), most), dtype=np.int64), np.empty((len(limits), most), dtype=np.float32)
        counts = np.zeros(len(limits), dtype=np.int64)
        while rows := len(tokens):
            block, parts, begin = min(rows, _BLOCK), -(-rows // _BLOCK), cache.length
            steps = min(_STEPS, most - begin)
            positions, steps = self._positions(begin, steps)
            kept, going_on = cache.append(steps, parts * block, self.kept_width), np.empty(parts, dtype=np.int64)
            past = (kept, cache.seen, cache.seen.shape[1], begin, cache.source_rows, cache.sources, cache.longest)
            answers = (steps, scores, going_on, said, log_p, most, counts)
            given = (parts, block, rows, self.table, tokens, positions, *past, limits, sentences, *answers)
            greedy(*given, *self._decoder_scratch(rows, block, cache, 1))
            left = np.concatenate([part * block + np.arange(count) for part, count in enumerate(going_on.tolist())])
            tokens, limits, sentences = tokens[left], limits[left], sentences[left]
            cache.select(left)
        return said, log_p, counts

    @torch.inference_mode()
    def beam_search(
        self, source_ids: Tensor, longest: Sequence[int], beam: int, alpha: float, wanted: int
    ) -> tuple[np.ndarray, ...]:
        """The whole search, as `search.beam_search` has it.

        -> of each sentence its best hypotheses: ids and log probabilities [sentences, wanted, most], and how many of
        them count, the end included [sentences, wanted]; and how many hypotheses there are [sentences].
        """
        from allyouneed.translation.engine.beam import FINISHED, scratch_longs, search

        cache, limits = self.start(source_ids), np.array(longest, dtype=np.int64)
        count, most = len(limits), int(limits.max(initial=0)) + 1
        penalties = np.array([length_penalty(length, alpha) for length in range(most + 2)])
        sentences, tokens, scores = np.arange(count), np.full((count, beam), BOS), np.zeros((count, beam))
        said, came_from = (np.empty((count, most, beam), dtype=np.int64) for _ in range(2))
        added, known = np.empty((count, most, beam), dtype=np.float32), np.zeros(count, dtype=np.int64)
        finished, lengths = (np.empty((count, wanted, n), dtype=np.int64) for n in (FINISHED, 1))
        ids, log_p = (np.empty((count, wanted, most), dtype=kind) for kind in (np.int64, np.float32))
        cache.widen(beam)
        while left := len(sentences):
            block, begin = max(1, min(left, _BLOCK // beam)), cache.length
            parts, rows = -(-left // block), block * beam
            positions, steps = self._positions(begin, min(_STEPS, most - begin))
            kept, going_on = cache.append(steps, parts * rows, self.kept_width), np.empty(parts, dtype=np.int64)
            room = cache.seen.shape[1]
            past = (kept, cache.seen, room, begin, cache.source_rows, cache.sources, cache.longest)
            answers = (going_on, said, came_from, added, known, finished, ids, log_p, lengths, most)
            given = (parts, block, left, self.table, beam, tokens, scores, positions, *past, limits, sentences, steps)
            more = 2 * scratch_longs(rows, beam, room)
            scratch = self._decoder_scratch(parts * rows, rows, cache, 2 * beam, more)
            search(*given, alpha > 0, penalties, wanted, *answers, *scratch)
            stay = np.concatenate([part * block + np.arange(here) for part, here in enumerate(going_on.tolist())])
            tokens, scores, limits, sentences = tokens[stay], scores[stay], limits[stay], sentences[stay]
            cache.select_beams(stay, beam)
        return ids, log_p, lengths[:, :, 0], known

    def _step(self, tokens: np.ndarray, cache: Cache, count: int, *wanted: int | np.ndarray) -> np.ndarray:
        """-> what the pre-softmax linear sees of each row's next position: [rows, d_model].

        count: how many words; wanted: whether with scores, and where they go, as `greedy.py` has them.
        """
        from allyouneed.translation.engine.greedy import step

        rows, tokens = len(tokens), np.ascontiguousarray(tokens, dtype=np.int64)
        block, parts, hidden = min(rows, _BLOCK), -(-rows // _BLOCK), np.empty((rows, self.config.d_model), np.float32)
        position, _ = self._positions(cache.length, 1)
        kept = cache.append(1, rows, self.kept_width)
        cache.seen[:, cache.length - 1] = _address(kept) + 4 * self.kept_width * np.arange(rows)
        past = (kept, cache.seen, cache.seen.shape[1], cache.length, cache.source_rows, cache.sources, cache.longest)
        scratch = self._decoder_scratch(rows, block, cache, count)
        step(parts, block, rows, self.table, tokens, position, *past, hidden, count, *wanted, *scratch)
        return hidden

    def _positions(self, begin: int, count: int) -> tuple[Tensor, int]:
        """Of so many places, or of as many as were learned, but at least one; and their number."""
        embedding = self.model.target_embedding
        if embedding.max_positions is not None:
            count = max(1, min(count, embedding.max_positions - begin))
        return embedding.position_encodings(begin, begin + count), count

    def _decoder_scratch(
        self, rows: int, block: int, cache: Cache, count: int, more: int = 0
    ) -> tuple[np.ndarray, int]:
        """As the kernels of `greedy.py` want it, and its size for a part in bytes. more: fp32 numbers."""
        from allyouneed.translation.engine.decoder import CHUNK
        from allyouneed.translation.engine.screen import scratch_size

        d_model, d_ff, heads, d_k, d_v = self._sizes
        layers = block * (d_model + heads * (d_k + d_v) + d_ff) + kernels.simd.whole_lanes(
            max(cache.length, cache.longest)
        )
        words = max(block * CHUNK, 0 if self.in_bytes else scratch_size(block, d_model, count))
        return self._scratch(-(-rows // block), more + block * (7 + d_model) + max(layers, words), block)

    def _scratch(self, parts: int, floats: int, rows: int) -> tuple[np.ndarray, int]:
        """Room for so many floats a part, and for its widest rows in bytes; and the size of a part in bytes."""
        d_model, d_ff, heads, _, d_v = self._sizes
        size = floats + (kernels.product.bytes_size(rows, max(d_model, d_ff, heads * d_v)) if self.in_bytes else 0)
        size += size % 2  # so that whole numbers of 64 bits stand well in every part
        return np.empty(parts * size, dtype=np.float32), 4 * size

    def _encoder_layer(self, layer: EncoderLayer) -> list[int]:
        """Addresses in the order of the names in `encoder.py`."""
        own, feed_forward = layer.self_attention, layer.feed_forward
        matrices = ((own.query, own.key, own.value), (own.output,), (feed_forward.inner,), (feed_forward.outer,))
        return self._layer(layer, matrices)

    def _decoder_layer(self, layer: DecoderLayer) -> list[int]:
        """The same, of those in `decoder.py`."""
        own, cross, feed_forward = layer.self_attention, layer.cross_attention, layer.feed_forward
        attention = ((own.query,), (own.key, own.value), (own.output,), (cross.query,), (cross.output,))
        return self._layer(layer, (*attention, (feed_forward.inner,), (feed_forward.outer,)))

    def _layer(self, layer: EncoderLayer | DecoderLayer, matrices: Sequence[Sequence[nn.Linear]]) -> list[int]:
        norms = [address for residual in layer.residuals for address in self._norm(residual.norm)]
        return norms + [address for linears in matrices for address in self._matrix(*linears)]

    def _matrix(self, *linears: nn.Linear) -> tuple[int, ...]:
        weight, bias = (torch.cat(parts) for parts in zip(*((x.weight, _bias(x)) for x in linears), strict=True))
        return self._hold(*kernels.product.pack(weight, bias, self.in_bytes)[:2])

    def _norm(self, norm: nn.LayerNorm) -> tuple[int, ...]:
        return self._hold(norm.weight.detach().clone(), norm.bias.detach().clone())

    def _hold(self, *tensors: Tensor) -> tuple[int, ...]:
        self._held += tensors
        return tuple(tensor.data_ptr() for tensor in tensors)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _bias(linear: nn.Linear) -> Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().clone()
