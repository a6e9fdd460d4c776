"""Worker of `accelerator.py`: runs one trainer on a device, alone or as a rank, and measures the time of its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from allyouneed.config import Config, ModelConfig
from allyouneed.data.batches import Batch, BatchOrder, Position, collate, share
from allyouneed.data.store import PairStore, open_store
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.devices import choose_device
from allyouneed.model.embedding import sinusoids
from allyouneed.training.distributed.ranks import Ranks, join_ranks, leave_ranks
from benchmarks.measure.accelerator import COMPILED, MARIAN, OURS, TORCH
from benchmarks.measure.memory import peak_bytes
from benchmarks.measure.stepping import Stepper
from benchmarks.measure.workers import serve_request

Step = Callable[[Batch], None]


def train(request: dict) -> dict:
    """Train and measure.

    Args:
        request: store, device, settings, trainer, steps, warm_up.

    Returns:
        Seconds and this rank's target tokens of the steps after the warm-up, and its peak memory in bytes.
    """
    config, device = Config.model_validate(request["settings"]), choose_device(request["device"])
    ranks = join_ranks(device.type)
    torch.manual_seed(config.training.seed)
    batches = list(islice(_batches(open_store(Path(request["store"])), config, ranks), request["steps"]))
    step = _TRAINERS[request["trainer"]](config, device, ranks)
    warm_up = request["warm_up"]
    for index in range(warm_up):
        step(batches[index % len(batches)])
    _synchronize(device)
    ranks.wait()
    start = time.perf_counter()
    for batch in batches:
        step(batch)
    _synchronize(device)
    seconds = time.perf_counter() - start
    leave_ranks(ranks)
    tokens = sum(int((batch.target_output != PAD).sum()) for batch in batches)
    return {"seconds": seconds, "tokens": tokens, "peak": _peak(device)}


def _batches(store: PairStore, config: Config, ranks: Ranks):
    order, position = BatchOrder(store, config.training.batch_tokens, config.training.seed), Position()
    while True:
        pairs, position = order.next(position)
        yield collate(store, share(pairs, ranks.rank, ranks.count))


def _ours(config: Config, device: torch.device, ranks: Ranks) -> Step:
    return Stepper(config, config.data.vocab_size, device, ranks=ranks)


def _ours_compiled(config: Config, device: torch.device, ranks: Ranks) -> Step:
    return Stepper(config, config.data.vocab_size, device, compiled=True, ranks=ranks)


class _Torch(nn.Module):
    """`torch.nn.Transformer` with the paper's embeddings and one shared matrix for both embeddings and the output."""

    def __init__(self, model: ModelConfig, vocab_size: int, max_length: int):
        super().__init__()
        self.scale = math.sqrt(model.d_model)
        self.embedding = nn.Embedding(vocab_size, model.d_model, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        self.dropout = nn.Dropout(model.dropout)
        self.register_buffer("positions", sinusoids(max_length, model.d_model))
        sizes = (model.d_model, model.num_heads, model.encoder_layers, model.decoder_layers, model.d_ff, model.dropout)
        self.transformer = nn.Transformer(*sizes, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        hidden_source, length = source == PAD, target.shape[1]
        future = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        states = self.transformer(
            self._embed(source),
            self._embed(target),
            tgt_mask=future,
            tgt_is_causal=True,
            src_key_padding_mask=hidden_source,
            memory_key_padding_mask=hidden_source,
        )
        return nn.functional.linear(states, self.embedding.weight)

    def _embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.embedding(ids) * self.scale + self.positions[: ids.shape[1]])


def _torch(config: Config, device: torch.device, ranks: Ranks) -> Step:
    model = _Torch(config.model, config.data.vocab_size, max_length=256).to(device)
    return _plain_step(model, model, config, device)


def _marian(config: Config, device: torch.device, ranks: Ranks) -> Step:
    from transformers import MarianConfig, MarianMTModel  # imported only if this trainer runs

    model = config.model
    marian = MarianMTModel(
        MarianConfig(
            vocab_size=config.data.vocab_size,
            d_model=model.d_model,
            encoder_layers=model.encoder_layers,
            decoder_layers=model.decoder_layers,
            encoder_attention_heads=model.num_heads,
            decoder_attention_heads=model.num_heads,
            encoder_ffn_dim=model.d_ff,
            decoder_ffn_dim=model.d_ff,
            dropout=model.dropout,
            activation_function="relu",
            scale_embedding=True,
            pad_token_id=PAD,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
            max_position_embeddings=256,
            use_cache=False,
        )
    ).to(device)

    def logits(source: Tensor, target: Tensor) -> Tensor:
        return marian(input_ids=source, attention_mask=source != PAD, decoder_input_ids=target).logits

    return _plain_step(marian, logits, config, device)


def _plain_step(
    model: nn.Module, logits: Callable[[Tensor, Tensor], Tensor], config: Config, device: torch.device
) -> Step:
    """Make a straightforward training step: padded batches, materialised logits, autocast where ours uses it."""
    criterion = nn.CrossEntropyLoss(label_smoothing=config.training.label_smoothing, ignore_index=PAD)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, (0.9, 0.98), 1e-9, weight_decay=0, fused=True)
    model.train()

    def step(batch: Batch) -> None:
        source, target_input, target_output = (
            x.to(device, non_blocking=True) for x in (batch.source, batch.target_input, batch.target_output)
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            predictions = logits(source, target_input)
            loss = criterion(predictions.flatten(0, 1), target_output.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()


_TRAINERS = {OURS: _ours, COMPILED: _ours_compiled, TORCH: _torch, MARIAN: _marian}

if __name__ == "__main__":
    serve_request(train)
