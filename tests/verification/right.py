"""Right implementations in ten styles; none may be blamed."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed import ModelConfig, Transformer
from tests.verification.tutorial import TutorialTransformer

VOCAB, D_MODEL, HEADS = 23, 32, 4


class Positions(nn.Module):
    def __init__(self, d_model: int, batch_first: bool):
        super().__init__()
        position = torch.arange(64).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(64, d_model)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe[None] if batch_first else pe[:, None])
        self.batch_first, self.dropout = batch_first, nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + (self.pe[:, : x.size(1)] if self.batch_first else self.pe[: x.size(0)]))


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` that makes its own masks."""

    def __init__(self, batch_first: bool = True, norm_first: bool = False, log_softmax: bool = False):
        super().__init__()
        self.batch_first, self.log_softmax, self.pad_id = batch_first, log_softmax, 0
        self.src_embedding, self.tgt_embedding = nn.Embedding(VOCAB, D_MODEL), nn.Embedding(VOCAB + 2, D_MODEL)
        self.positions = Positions(D_MODEL, batch_first)
        self.transformer = nn.Transformer(
            D_MODEL, HEADS, 2, 2, 48, batch_first=batch_first, norm_first=norm_first, dropout=0.1
        )
        self.generator = nn.Linear(D_MODEL, VOCAB + 2)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        rows = (lambda ids: ids) if self.batch_first else (lambda ids: ids.T)
        length = tgt.shape[1 if self.batch_first else 0]
        padding = rows(src) == self.pad_id
        x = self.transformer(
            self.positions(self.src_embedding(src) * math.sqrt(D_MODEL)),
            self.positions(self.tgt_embedding(tgt) * math.sqrt(D_MODEL)),
            tgt_mask=torch.ones(length, length, dtype=torch.bool, device=src.device).triu(1),
            src_key_padding_mask=padding,
            tgt_key_padding_mask=rows(tgt) == self.pad_id,
            memory_key_padding_mask=padding,
        )
        logits = self.generator(x)
        return logits.log_softmax(-1) if self.log_softmax else logits


class TorchWithMasks(TorchTransformer):
    """The style of PyTorch's translation tutorial: [length, batch], and the caller makes all masks."""

    def __init__(self):
        super().__init__(batch_first=False)

    def forward(
        self,
        src: Tensor,
        trg: Tensor,
        src_mask: Tensor,
        tgt_mask: Tensor,
        src_padding_mask: Tensor,
        tgt_padding_mask: Tensor,
        memory_key_padding_mask: Tensor,
    ) -> Tensor:
        x = self.transformer(
            self.positions(self.src_embedding(src) * math.sqrt(D_MODEL)),
            self.positions(self.tgt_embedding(trg) * math.sqrt(D_MODEL)),
            src_mask, tgt_mask, None, src_padding_mask, tgt_padding_mask, memory_key_padding_mask,
        )  # fmt: skip
        return self.generator(x)


def clones(module: nn.Module, count: int) -> nn.ModuleList:
    return nn.ModuleList(copy.deepcopy(module) for _ in range(count))


class MultiHeadedAttention(nn.Module):
    """Names of the Annotated Transformer: a list of four linears."""

    def __init__(self, h: int, d_model: int):
        super().__init__()
        self.d_k, self.h, self.linears = d_model // h, h, clones(nn.Linear(d_model, d_model), 4)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        parts = [
            linear(x).view(x.size(0), -1, self.h, self.d_k).transpose(1, 2)
            for linear, x in zip(self.linears, (query, key, value), strict=False)
        ]
        scores = torch.matmul(parts[0], parts[1].transpose(-2, -1)) / math.sqrt(self.d_k)
        weights = scores.masked_fill(mask.unsqueeze(1) == 0, float("-inf")).softmax(dim=-1)
        x = torch.matmul(weights, parts[2]).transpose(1, 2).contiguous().view(query.size(0), -1, self.h * self.d_k)
        return self.linears[-1](x)


class AnnotatedNorm(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.a_2, self.b_2, self.eps = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.a_2 * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps) + self.b_2


class SublayerConnection(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.norm, self.dropout = AnnotatedNorm(size), nn.Dropout(0.1)

    def forward(self, x: Tensor, sublayer) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


class PositionwiseFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.w_1, self.w_2, self.dropout = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(self.w_1(x).relu()))


class AnnotatedLayer(nn.Module):
    def __init__(self, cross: bool):
        super().__init__()
        self.self_attn = MultiHeadedAttention(HEADS, D_MODEL)
        if cross:
            self.src_attn = MultiHeadedAttention(HEADS, D_MODEL)
        self.feed_forward = PositionwiseFeedForward(D_MODEL, 48)
        self.sublayer = clones(SublayerConnection(D_MODEL), 3 if cross else 2)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None = None, src_mask: Tensor | None = None) -> Tensor:
        x = self.sublayer[0](x, lambda x: self.self_attn(x, x, x, mask))
        if memory is not None:
            x = self.sublayer[1](x, lambda x: self.src_attn(x, memory, memory, src_mask))
        return self.sublayer[-1](x, self.feed_forward)


class AnnotatedStack(nn.Module):
    def __init__(self, cross: bool):
        super().__init__()
        self.layers, self.norm = clones(AnnotatedLayer(cross), 2), AnnotatedNorm(D_MODEL)

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, *rest)
        return self.norm(x)


class AnnotatedEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.lut = nn.Embedding(VOCAB, D_MODEL)

    def forward(self, x: Tensor) -> Tensor:
        return self.lut(x) * math.sqrt(D_MODEL)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(D_MODEL, VOCAB)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.proj(x), dim=-1)


class EncoderDecoder(nn.Module):
    """The structure of the Annotated Transformer: masks from outside, and a generator that the caller applies."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = AnnotatedStack(False), AnnotatedStack(True)
        self.src_embed = nn.Sequential(AnnotatedEmbeddings(), Positions(D_MODEL, True))
        self.tgt_embed = nn.Sequential(AnnotatedEmbeddings(), Positions(D_MODEL, True))
        self.generator = Generator()

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor, tgt_mask: Tensor) -> Tensor:
        memory = self.encoder(self.src_embed(src), src_mask)
        return self.decoder(self.tgt_embed(tgt), tgt_mask, memory, src_mask)


class Staged(EncoderDecoder):
    """No forward: the caller encodes, decodes and projects."""

    forward = nn.Module.forward

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        return self.encoder(self.src_embed(src), src_mask)

    def decode(self, memory: Tensor, src_mask: Tensor, tgt: Tensor, tgt_mask: Tensor) -> Tensor:
        return self.decoder(self.tgt_embed(tgt), tgt_mask, memory, src_mask)


class FusedAttention(nn.Module):
    """One matrix for queries, keys and values, [3, heads, d_k] or [heads, 3, d_k], and PyTorch's fused kernel."""

    def __init__(self, per_head: bool, cross: bool):
        super().__init__()
        self.num_heads, self.per_head, self.cross = HEADS, per_head, cross
        if cross:
            self.q_proj, self.kv_proj = nn.Linear(D_MODEL, D_MODEL), nn.Linear(D_MODEL, 2 * D_MODEL)
        else:
            self.qkv = nn.Linear(D_MODEL, 3 * D_MODEL)
        self.out_proj = nn.Linear(D_MODEL, D_MODEL)

    def parts(self, x: Tensor, count: int) -> list[Tensor]:
        if self.per_head:
            return list(x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).chunk(count, -1))
        return [y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in x.chunk(count, -1)]

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        if self.cross:
            [q], (k, v) = self.parts(self.q_proj(x), 1), self.parts(self.kv_proj(memory), 2)
        else:
            q, k, v = self.parts(self.qkv(x), 3)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class FusedLayer(nn.Module):
    def __init__(self, per_head: bool, cross: bool):
        super().__init__()
        self.attention = FusedAttention(per_head, False)
        self.cross_attention = FusedAttention(per_head, True) if cross else None
        self.mlp = nn.Sequential(nn.Linear(D_MODEL, 64), nn.GELU(), nn.Linear(64, D_MODEL))
        self.ln1, self.ln2 = nn.LayerNorm(D_MODEL), nn.LayerNorm(D_MODEL)
        if cross:
            self.ln3 = nn.LayerNorm(D_MODEL)

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        y = self.ln1(x)
        x = x + self.attention(y, y, mask)
        if self.cross_attention is not None:
            x = x + self.cross_attention(self.ln2(x), memory, memory_mask)
        return x + self.mlp((self.ln2 if self.cross_attention is None else self.ln3)(x))


class FusedTransformer(nn.Module):
    """Fused projections, norms first, GELU, learned positions, tied output."""

    def __init__(self, per_head: bool = False):
        super().__init__()
        self.padding_idx = 0
        self.encoder_embed, self.decoder_embed = nn.Embedding(VOCAB, D_MODEL), nn.Embedding(VOCAB, D_MODEL)
        self.encoder_pos = nn.Parameter(torch.randn(64, D_MODEL))
        self.decoder_pos = nn.Parameter(torch.randn(64, D_MODEL))
        self.encoder_layers = nn.ModuleList(FusedLayer(per_head, False) for _ in range(2))
        self.decoder_layers = nn.ModuleList(FusedLayer(per_head, True) for _ in range(2))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(D_MODEL), nn.LayerNorm(D_MODEL)
        self.lm_head = nn.Linear(D_MODEL, VOCAB, bias=False)
        self.lm_head.weight = self.decoder_embed.weight

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> dict[str, Tensor]:
        scale = math.sqrt(D_MODEL)
        mask = (input_ids != 0)[:, None, None]
        x = self.encoder_embed(input_ids) * scale + self.encoder_pos[: input_ids.shape[1]]
        for layer in self.encoder_layers:
            x = layer(x, mask)
        x = self.encoder_norm(x)
        y = self.decoder_embed(target_ids) * scale + self.decoder_pos[: target_ids.shape[1]]
        future = torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).tril()
        for layer in self.decoder_layers:
            y = layer(y, future, x, mask)
        return {"logits": self.lm_head(self.decoder_norm(y))}


class EinsumAttention(nn.Module):
    """Bare parameters [heads, d_model, d_k] and einsum, as in the paper's notation."""

    def __init__(self, d_k: int):
        super().__init__()
        self.n_heads = HEADS
        self.w_q, self.w_k, self.w_v = (nn.Parameter(torch.randn(HEADS, D_MODEL, d_k) * 0.2) for _ in range(3))
        self.w_o = nn.Parameter(torch.randn(HEADS, d_k, D_MODEL) * 0.2)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        q = torch.einsum("btd,hdk->bhtk", x, self.w_q)
        k = torch.einsum("bsd,hdk->bhsk", memory, self.w_k)
        v = torch.einsum("bsd,hdk->bhsk", memory, self.w_v)
        scores = torch.einsum("bhtk,bhsk->bhts", q, k) * q.shape[-1] ** -0.5
        weights = F.softmax(scores + torch.where(mask, 0.0, -torch.inf), dim=-1)
        return torch.einsum("bhts,bhsk,hkd->btd", weights, v, self.w_o)


class EinsumLayer(nn.Module):
    def __init__(self, cross: bool):
        super().__init__()
        self.self_attention = EinsumAttention(8)
        self.cross_attention = EinsumAttention(8) if cross else None
        self.fc1, self.fc2 = nn.Linear(D_MODEL, 40), nn.Linear(40, D_MODEL)
        self.norms = nn.ModuleList(nn.LayerNorm(D_MODEL) for _ in range(3 if cross else 2))

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        x = self.norms[0](x + self.self_attention(x, x, mask))
        if self.cross_attention is not None:
            x = self.norms[1](x + self.cross_attention(x, memory, memory_mask))
        return self.norms[-1](x + self.fc2(F.relu(self.fc1(x))))


class EinsumTransformer(nn.Module):
    """One shared embedding, logits by its transpose, target as the first argument, a tuple as result."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, D_MODEL, padding_idx=0)
        self.positions = Positions(D_MODEL, True)
        self.encoder = nn.ModuleList(EinsumLayer(False) for _ in range(1))
        self.decoder = nn.ModuleList(EinsumLayer(True) for _ in range(1))

    def forward(self, tgt: Tensor, src: Tensor) -> tuple[Tensor, Tensor]:
        mask = (src != 0)[:, None, None]
        x = self.positions(self.embedding(src) * math.sqrt(D_MODEL))
        for layer in self.encoder:
            x = layer(x, mask)
        y = self.positions(self.embedding(tgt) * math.sqrt(D_MODEL))
        for layer in self.decoder:
            y = layer(y, torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).tril(), x, mask)
        return y @ self.embedding.weight.T, x


def ours(**settings: object) -> Transformer:
    sizes = {"d_model": D_MODEL, "d_ff": 48, "num_heads": HEADS, "encoder_layers": 2, "decoder_layers": 2}
    config = ModelConfig(**{**sizes, **settings})
    return Transformer(config, VOCAB, plain=True)


RIGHT = {
    "torch post-norm": TorchTransformer,
    "torch pre-norm": lambda: TorchTransformer(norm_first=True),
    "torch [length, batch]": lambda: TorchTransformer(batch_first=False),
    "torch, masks from the caller": TorchWithMasks,
    "torch, log-probabilities": lambda: TorchTransformer(log_softmax=True),
    "ours": ours,
    "ours pre-norm": lambda: ours(norm="pre", positions="learned", attention_bias=True, tie_embeddings=False),
    "split linears": TutorialTransformer,
    "bfloat16": lambda: TutorialTransformer().bfloat16(),
    "one head": lambda: ours(num_heads=1, d_ff=D_MODEL, tie_embeddings=False),
    "split linears without biases": lambda: TutorialTransformer(bias=False),
    "annotated, separate generator": EncoderDecoder,
    "encode and decode": Staged,
    "fused": FusedTransformer,
    "fused per head": lambda: FusedTransformer(per_head=True),
    "einsum": EinsumTransformer,
}
