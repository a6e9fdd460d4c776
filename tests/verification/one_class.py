"""A Transformer in one class, with lists of layers by role, masks made inside, and padding under an unusual id."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 2


class OneClass(nn.Module):
    """The paper's model; a method is replaced, or `mistake` named, to make a mistake."""

    def __init__(self, mistake: str = "", layers: int = 2) -> None:
        super().__init__()
        self.mistake, self.heads, d_model, d_ff = mistake, 4, 24, 40
        self.src_emb, self.trg_emb = nn.Embedding(30, d_model), nn.Embedding(30, d_model)
        angle = torch.arange(50.0)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], -1).flatten(1))
        for block in ("enc", "dec", "cross"):
            for role in "qkvo":
                setattr(self, f"{block}_{role}", nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(layers)))
        for side, norms in (("enc", 2), ("dec", 3)):
            setattr(self, f"{side}_ff1", nn.ModuleList(nn.Linear(d_model, d_ff) for _ in range(layers)))
            setattr(self, f"{side}_ff2", nn.ModuleList(nn.Linear(d_ff, d_model) for _ in range(layers)))
            for i in range(norms):
                setattr(self, f"{side}_ln{i}", nn.ModuleList(nn.LayerNorm(d_model) for _ in range(layers)))
        self.out = nn.Linear(d_model, 30)
        if mistake == "shared layers":
            for name, each in self.named_children():
                if isinstance(each, nn.ModuleList):
                    setattr(self, name, nn.ModuleList([each[0]] * layers))

    def attend(self, block: str, i: int, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        projections = (getattr(self, f"{block}_{role}")[i] for role in "qkv")
        q, k, v = (
            p(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for p, y in zip(projections, (x, memory, memory), strict=True)
        )
        unscaled = self.mistake == "one layer unscaled" and (block, i) == ("enc", 1)
        scores = q @ k.transpose(-2, -1) / (1.0 if unscaled else math.sqrt(q.shape[-1]))
        if self.mistake == "softmax over heads":
            weights = (scores + (~mask) * -1e9).softmax(1)
        elif self.mistake == "ones added" and block == "dec":
            length = x.shape[1]
            weights = (
                (scores + torch.ones(length, length).triu(1)).masked_fill(~mask & self.keys(mask), -1e9).softmax(-1)
            )
        else:
            weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
        if self.mistake == "values scaled":
            v = v / math.sqrt(v.shape[-1])
        return getattr(self, f"{block}_o")[i]((weights @ v).transpose(1, 2).flatten(2))

    def keys(self, mask: Tensor) -> Tensor:
        """Return True at keys that no query sees, which are padding."""
        return ~mask.any(-2, keepdim=True)

    def feed(self, side: str, i: int, x: Tensor) -> Tensor:
        return getattr(self, f"{side}_ff2")[i](F.relu(getattr(self, f"{side}_ff1")[i](x)))

    def embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        scale = math.sqrt(table.embedding_dim)
        if self.mistake == "embeddings scaled twice":
            scale *= scale
        if self.mistake == "target embedding unscaled" and table is self.trg_emb:
            scale = 1.0
        positions = self.pe[:1] if self.mistake == "one position" else self.pe[: ids.shape[1]]
        x = table(ids) * scale
        return x * positions if self.mistake == "positions multiplied" else x + positions

    def norm(self, side: str, index: int, i: int, x: Tensor) -> Tensor:
        if self.mistake == "first norm" and side == "enc":
            index = 0
        norm = getattr(self, f"{side}_ln{index}")[i]
        if self.mistake == "norm over positions":
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + norm.eps).sqrt()
            return x * norm.weight + norm.bias
        return norm(x)

    def forward(self, src: Tensor, trg: Tensor) -> Tensor:
        length = trg.shape[1]
        source, target = (src != PAD)[:, None, None], (trg != PAD)[:, None, None]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        seen = source.transpose(-2, -1) if self.mistake == "queries masked" else source
        if self.mistake == "causal encoder":
            seen = seen & torch.ones(src.shape[1], src.shape[1], dtype=torch.bool).tril()
        both = (target | causal) if self.mistake == "masks joined by or" else (target & causal)
        x, states = self.embed(self.src_emb, src), []
        layers = range(len(self.enc_q) - (self.mistake == "last layer left out"))
        for i in layers:
            if i and self.mistake == "positions in every layer":
                x = x + self.pe[: src.shape[1]]
            entered = x
            x = self.norm("enc", 0, i, x + self.attend("enc", i, x, x, seen))
            kept = entered if self.mistake == "residual of the layer" else x
            x = self.norm("enc", 1, i, kept + self.feed("enc", i, x))
            states.append(x)
        memory = states[0] if self.mistake == "first encoder layer" else x
        table = self.src_emb if self.mistake == "source embedding" else self.trg_emb
        y = self.embed(table, trg)
        order = range(len(self.dec_q))
        for i in reversed(order) if self.mistake == "reversed layers" else order:
            entered = y
            y = self.norm("dec", 0, i, y + self.attend("dec", i, y, y, both))
            query = entered if self.mistake == "query before self-attention" else y
            y = self.norm("dec", 1, i, y + self.attend("cross", i, query, memory, source))
            y = self.norm("dec", 2, i, y + self.feed("dec", i, y))
        logits = self.out(y)
        return logits.log_softmax(1) if self.mistake == "softmax over positions" else logits


# Mistake -> what is found, and words of where it is.
MISTAKES = {
    "one layer unscaled": ("scale-missing", "encoder layer 2, self-attention only"),
    "softmax over heads": ("softmax-axis", ""),
    "ones added": ("mask-added", "decoder self-attention"),
    "values scaled": ("multiple", ""),
    "embeddings scaled twice": ("embedding-twice", ""),
    "target embedding unscaled": ("embedding-unscaled", "decoder only"),
    "one position": ("positions-constant", ""),
    "positions multiplied": ("positions-multiplied", ""),
    "positions in every layer": ("positions-repeated", "encoder only"),
    "first norm": ("norm-first", "encoder only"),
    "norm over positions": ("norm-axis", ""),
    "queries masked": ("padding-queries", "encoder self-attention"),
    "causal encoder": ("encoder-causal", "encoder self-attention"),
    "masks joined by or": ("future-visible", "decoder self-attention"),
    "residual of the layer": ("residual-other", "encoder only"),
    "first encoder layer": ("memory-first", ""),
    "source embedding": ("embedding-source", ""),
    "query before self-attention": ("cross-query", ""),
    "softmax over positions": ("output-axis", ""),
    "shared layers": ("layers-shared", ""),
    "last layer left out": ("layers-idle", ""),
    "reversed layers": ("layers-order", ""),
}
