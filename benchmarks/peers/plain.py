"""A plain PyTorch training loop: `python benchmarks/peers/plain.py DATA --updates U`.

Unmodified `torch.nn.Transformer`, `nn.CrossEntropyLoss` and `torch.optim.Adam` on batches of similar length, without
allyouneed. Prints the line defined in `contract.py`. `nn.Transformer` also applies dropout inside attention and the
feed-forward network, and normalises after the last layer of encoder and decoder.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import math
import os
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
import torch
from contract import PEAK_RATE, SIZES, SMOOTHING, SUBWORDS, WARMUP, WINDOW, Size, line, number_of_updates
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

PAD, UNK, BOS, EOS = range(4)
Pair = tuple[list[int], list[int]]  # source and target, as ids


class Translator(nn.Module):
    def __init__(self, size: Size, max_length: int):
        super().__init__()
        self.scale = math.sqrt(size.d_model)
        self.embedding = nn.Embedding(SUBWORDS, size.d_model, padding_idx=PAD)
        self.dropout = nn.Dropout(size.dropout)
        self.register_buffer("positions", sinusoids(max_length, size.d_model))
        self.transformer = nn.Transformer(
            d_model=size.d_model,
            nhead=size.heads,
            num_encoder_layers=size.layers,
            num_decoder_layers=size.layers,
            dim_feedforward=size.d_ff,
            dropout=size.dropout,
            batch_first=True,
            norm_first=False,
        )
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Compute logits of the next token, shape [pairs, target, SUBWORDS]."""
        length = target.shape[1]
        source_padding, target_padding = source == PAD, target == PAD
        states = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=torch.ones(length, length, dtype=torch.bool).triu(1),
            tgt_is_causal=True,
            src_key_padding_mask=source_padding,
            tgt_key_padding_mask=target_padding,
            memory_key_padding_mask=source_padding,
        )
        return nn.functional.linear(states, self.embedding.weight)

    def embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.embedding(ids) * self.scale + self.positions[: ids.shape[1]])


def sinusoids(length: int, d_model: int) -> Tensor:
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def read_pairs(data: Path) -> list[Pair]:
    texts = []
    for language in ("en", "de"):
        with gzip.open(data / f"train.lc.norm.tok.{language}.gz", "rt", encoding="utf-8", newline="\n") as file:
            texts.append([text.rstrip("\n") for text in file])
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=itertools.chain(*texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=SUBWORDS,
        character_coverage=1.0,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        minloglevel=1,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    sources = processor.encode(texts[0], add_eos=True)
    targets = processor.encode(texts[1], add_bos=True, add_eos=True)
    return list(zip(sources, targets, strict=True))


def batches(pairs: list[Pair], max_tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield padded batches of pairs of similar length, in random order, epoch after epoch."""
    while True:
        random.shuffle(pairs)
        pairs.sort(key=lambda pair: (len(pair[1]), len(pair[0])))  # stable: equal lengths stay shuffled
        groups, group, longest = [], [], 0
        for pair in pairs:
            longest = max(longest, len(pair[0]), len(pair[1]) - 1)  # the model sees the target without its last id
            if group and longest * (len(group) + 1) > max_tokens:
                groups.append(group)
                group, longest = [], max(len(pair[0]), len(pair[1]) - 1)
            group.append(pair)
        groups.append(group)
        random.shuffle(groups)
        for group in groups:
            source, target = (
                pad_sequence([torch.tensor(ids) for ids in side], batch_first=True, padding_value=PAD)
                for side in zip(*group, strict=True)
            )
            yield source, target


def train(pairs: list[Pair], size: Size, updates: int) -> list[float]:
    """Train and return target tokens per second of each window."""
    model = Translator(size, max_length=max(len(ids) for pair in pairs for ids in pair))
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING, ignore_index=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, math.sqrt(WARMUP / (step + 1)))
    )
    model.train()
    rates, tokens, start = [], 0, time.perf_counter()
    for update, (source, target) in enumerate(itertools.islice(batches(pairs, size.batch_tokens), updates), start=1):
        logits = model(source, target[:, :-1])
        loss = criterion(logits.flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        tokens += int((target[:, 1:] != PAD).sum())
        if update % WINDOW == 0:
            rates.append(tokens / (time.perf_counter() - start))
            print(f"update {update}: loss {loss.item():.3f}, {rates[-1]:,.0f} target tokens/s", file=sys.stderr)
            tokens, start = 0, time.perf_counter()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with Multi30k's train.lc.norm.tok.{en,de}.gz")
    parser.add_argument("--updates", type=number_of_updates, required=True)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    torch.manual_seed(1)
    random.seed(1)
    rates = train(read_pairs(arguments.data), SIZES[arguments.size], arguments.updates)
    print(line("plain", rates, arguments.updates, resource.RUSAGE_SELF))


if __name__ == "__main__":
    main()
