"""A Transformer written by hand in the style of tutorials, right by default, with a known mistake on request."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# mistake -> entry of the catalogue, or check of behaviour, that must be reported
MISTAKES = {
    "future visible": "future-visible",
    "mask one ahead": "future-one-ahead",
    "mask hides itself": "self-hidden",
    "mask transposed": "future-reversed",
    "scale missing": "scale-missing",
    "scale by d_k": "scale-squared",
    "scale by d_model": "scale-d_model",
    "queries scaled by another width": "scale-d_model",
    "softmax over queries": "softmax-axis",
    "mask inverted": "mask-inverted",
    "mask sign": "mask-sign",
    "mask after softmax": "mask-after-softmax",
    "mask added as a number": "mask-added",
    "encoder padding seen": "padding-seen",
    "cross padding seen": "padding-seen",
    "sinusoids split": "sinusoids-split",
    "exponents doubled": "positions-exponents",
    "positions from 1": "positions-from-1",
    "no positions": "positions-missing",
    "embedding unscaled": "embedding-unscaled",
    "scale after positions": "embedding-scaled-late",
    "norm before": "pre-norm",
    "norm inside": "norm-inside",
    "residual missing": "residual-missing",
    "heads share a projection": "heads-shared",
    "heads not transposed": "heads-view",
    "heads merged without transpose": "heads-merge",
    "cross attention reads the decoder": "memory-decoder",
    "memory of the same layer": "memory-layer",
    "relu missing": "relu-missing",
    "relu on output": "relu-on-output",
    "no output projection": "projection-missing",
    "unbiased deviation": "norm-unbiased",
    "dropout in evaluation": "deterministic",
    "half precision": "half",
}


class Attention(nn.Module):
    def __init__(self, d_model: int, heads: int, mistake: str, kind: str, bias: bool):
        super().__init__()
        self.d_model, self.heads, self.d_k = d_model, heads, d_model // heads
        self.w_q = nn.Linear(d_model, d_model, bias)
        self.w_k = nn.Linear(d_model, d_model, bias)
        self.w_v = nn.Linear(d_model, d_model, bias)
        self.w_o = nn.Linear(d_model, d_model, bias)
        if mistake == "heads share a projection":
            self.w_q, self.w_k, self.w_v = (nn.Linear(self.d_k, self.d_k, bias) for _ in range(3))
        self.mistake, self.kind = mistake, kind

    def split(self, x: Tensor) -> Tensor:
        if self.mistake == "heads not transposed":
            return x.reshape(len(x), self.heads, -1, self.d_k)
        return x.view(len(x), -1, self.heads, self.d_k).transpose(1, 2)

    def scaled(self, q: Tensor, k: Tensor) -> Tensor:
        if self.mistake == "queries scaled by another width":
            return (q / math.sqrt(self.d_model)) @ k.transpose(-2, -1)
        divisor = {
            "scale missing": 1.0,
            "scale by d_k": float(self.d_k),
            "scale by d_model": math.sqrt(self.d_model),
        }.get(self.mistake, math.sqrt(self.d_k))
        return q @ k.transpose(-2, -1) / divisor

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        if self.mistake == "heads share a projection":
            parts = (x.unflatten(-1, (self.heads, -1)) for x in (q, k, v))
            projected = (linear(x) for linear, x in zip((self.w_q, self.w_k, self.w_v), parts, strict=True))
            q, k, v = (x.transpose(1, 2) for x in projected)
        else:
            q, k, v = self.split(self.w_q(q)), self.split(self.w_k(k)), self.split(self.w_v(v))
        scores = self.scaled(q, k)
        mistake = self.mistake
        if mistake == f"{self.kind} padding seen":
            mask = torch.ones_like(mask)
        lowest = torch.finfo(scores.dtype).min
        if mistake == "mask after softmax":
            weights = scores.softmax(-1) * mask
        elif mistake == "mask added as a number":
            weights = (scores + mask).softmax(-1)
        elif mistake == "mask inverted":
            weights = scores.masked_fill(mask, -1e9).softmax(-1)
        elif mistake == "mask sign":
            weights = scores.masked_fill(~mask, 1e9).softmax(-1)
        elif mistake == "softmax over queries":
            weights = scores.masked_fill(~mask, lowest).softmax(-2)
        else:
            weights = scores.masked_fill(~mask, -1e9 if mistake == "half precision" else lowest).softmax(-1)
        if mistake == "dropout in evaluation":
            weights = F.dropout(weights, 0.1)
        x = weights @ v
        if mistake in ("heads not transposed", "heads merged without transpose"):
            x = x.reshape(len(x), -1, self.d_model)
        else:
            x = x.transpose(1, 2).reshape(len(x), -1, self.d_model)
        return x if mistake == "no output projection" else self.w_o(x)


class Norm(nn.Module):
    def __init__(self, d_model: int, mistake: str):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(d_model)), nn.Parameter(torch.zeros(d_model))
        self.unbiased, self.eps = mistake == "unbiased deviation", 1e-5

    def forward(self, x: Tensor) -> Tensor:
        if self.unbiased:
            return self.gamma * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps) + self.beta
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta, self.eps)


class FeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int, mistake: str):
        super().__init__()
        self.fc1, self.fc2, self.mistake = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model), mistake

    def forward(self, x: Tensor) -> Tensor:
        if self.mistake == "relu missing":
            return self.fc2(self.fc1(x))
        if self.mistake == "relu on output":
            return F.relu(self.fc2(self.fc1(x)))
        return self.fc2(F.relu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, sizes: tuple[int, int, int], dropout: float, mistake: str, side: str, bias: bool):
        super().__init__()
        d_model, heads, d_ff = sizes
        self.self_attn = Attention(d_model, heads, mistake, side, bias)
        self.cross_attn = Attention(d_model, heads, mistake, "cross", bias) if side == "decoder" else None
        self.ffn = FeedForward(d_model, d_ff, mistake)
        self.norms = nn.ModuleList(Norm(d_model, mistake) for _ in range(3 if side == "decoder" else 2))
        self.dropout, self.mistake = nn.Dropout(dropout), mistake

    def add(self, index: int, x: Tensor, sublayer) -> Tensor:
        norm = self.norms[index]
        if self.mistake == "norm before":
            return x + self.dropout(sublayer(norm(x)))
        if self.mistake == "norm inside":
            return x + self.dropout(norm(sublayer(x)))
        if self.mistake == "residual missing":
            return norm(self.dropout(sublayer(x)))
        return norm(x + self.dropout(sublayer(x)))

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        x = self.add(0, x, lambda y: self.self_attn(y, y, y, mask))
        if self.cross_attn is not None:
            if self.mistake == "cross attention reads the decoder":
                x = self.add(1, x, lambda y: self.cross_attn(y, y, y, mask))
            else:
                x = self.add(1, x, lambda y: self.cross_attn(y, memory, memory, memory_mask))
        return self.add(len(self.norms) - 1, x, self.ffn)


class Embed(nn.Module):
    def __init__(self, vocab: int, d_model: int, dropout: float, mistake: str, longest: int = 64):
        super().__init__()
        self.table, self.dropout, self.mistake = nn.Embedding(vocab, d_model), nn.Dropout(dropout), mistake
        start = 1 if mistake == "positions from 1" else 0
        position = torch.arange(start, start + longest).float()[:, None]
        exponent = torch.arange(0, d_model, 2).float() / d_model * (2 if mistake == "exponents doubled" else 1)
        angle = position * torch.exp(-math.log(10000.0) * exponent)
        pe = torch.zeros(longest, d_model)
        if mistake == "sinusoids split":
            pe = torch.cat([angle.sin(), angle.cos()], -1)
        elif mistake != "no positions":
            pe[:, 0::2], pe[:, 1::2] = angle.sin(), angle.cos()
        self.register_buffer("pe", pe)
        self.scale = 1.0 if mistake == "embedding unscaled" else math.sqrt(d_model)

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.pe[: ids.shape[1]]
        if self.mistake == "scale after positions":
            return self.dropout((self.table(ids) + positions) * self.scale)
        return self.dropout(self.table(ids) * self.scale + positions)


class TutorialTransformer(nn.Module):
    def __init__(
        self, mistake: str = "", vocab: int = 23, d_model: int = 32, heads: int = 2, layers: int = 2, bias: bool = True
    ):
        super().__init__()
        sizes = d_model, heads, 2 * d_model + 16
        self.mistake, self.pad_idx = mistake, 0
        self.src_embed = Embed(vocab, d_model, 0.1, mistake)
        self.tgt_embed = Embed(vocab, d_model, 0.1, mistake)
        self.encoder = nn.ModuleList(Layer(sizes, 0.1, mistake, "encoder", bias) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(sizes, 0.1, mistake, "decoder", bias) for _ in range(layers))
        self.fc_out = nn.Linear(d_model, vocab)

    def future(self, length: int) -> Tensor:
        ones = torch.ones(length, length, dtype=torch.bool)
        return {
            "future visible": ones,
            "mask one ahead": ones.tril(1),
            "mask hides itself": ones.tril(-1),
            "mask transposed": ones.triu(),
        }.get(self.mistake, ones.tril())

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        src_mask = (src != self.pad_idx)[:, None, None]
        tgt_mask = (tgt != self.pad_idx)[:, None, None] & self.future(tgt.shape[1])
        x, states = self.src_embed(src), []
        for layer in self.encoder:
            x = layer(x, src_mask)
            states.append(x)
        y = self.tgt_embed(tgt)
        for index, layer in enumerate(self.decoder):
            y = layer(y, tgt_mask, states[index] if self.mistake == "memory of the same layer" else x, src_mask)
        return self.fc_out(y)
