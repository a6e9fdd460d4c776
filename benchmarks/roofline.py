"""Find where the time of a training step goes: `python benchmarks/roofline.py`, with nothing else running.

For each part of a step, the time that it takes is compared with the time that the machine would need for its arithmetic
at the measured peak of fp32 products, or for its memory traffic at the measured bandwidth, whichever is longer.
The difference is lost. Traffic counts inputs and outputs once, as if nothing stayed in a cache between two parts;
a part whose inputs are still in a cache may therefore take less time than it needs. Sizes and settings are those of
`training.py throughput`; sentences are random ids with lengths as in Multi30k, similar within a batch.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.config import Config  # noqa: E402
from allyouneed.data.batches import Batch  # noqa: E402
from allyouneed.data.tokens.tokenizer import EOS, PAD  # noqa: E402
from allyouneed.training.memory import keep_freed_memory  # noqa: E402
from allyouneed.training.resolution.size import matrix_flops  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.parts import Part, PartRecorder  # noqa: E402
from benchmarks.measure.stepping import Stepper  # noqa: E402
from benchmarks.measure.throughput import size_config  # noqa: E402
from benchmarks.peers.contract import SIZES  # noqa: E402

OVERHEAD = "Python, autograd, allocation"
_MEAN_LENGTH, _DEVIATION = 15, 5  # tokens of a sentence of Multi30k
_SMALL = 0.002  # parts below this share of the step are summed
_COPIED = 2**26  # bytes, more than the caches hold


class Peak(NamedTuple):
    """Measured limits of the machine."""

    flops: float  # fp32 operations per second in a large product
    bandwidth: float  # bytes per second, read and written, while copying

    def seconds(self, part: Part) -> float:
        """Return the time that a part needs at least."""
        return max(part.operations / self.flops, part.bytes / self.bandwidth)


class Roofline(NamedTuple):
    """Measurement of a size on a number of threads."""

    peak: Peak
    parts: dict[str, Part]  # medians over steps
    seconds: float  # of a step that is not observed, median
    tokens: int  # target tokens of a step, mean

    @property
    def observed(self) -> float:
        return sum(part.seconds for part in self.parts.values())


def measure(config: Config, vocab_size: int, steps: int, batch_tokens: int) -> Roofline:
    """Train with alternating observed and unobserved steps on the same batches.

    Args:
        config: Settings of the model and the training.
        vocab_size: Size of the vocabulary.
        steps: Number of batches.
        batch_tokens: Tokens of a batch on the longer side, including padding.
    """
    step = Stepper(config, vocab_size)
    generator = torch.Generator().manual_seed(1)
    batches = [make_batch(batch_tokens, vocab_size, generator) for _ in range(steps)]
    for batch in batches:  # compiles kernels and allocates pages
        step(batch)
    seconds, recorded, tokens = [], [], 0
    for batch in batches:
        made = step(batch)
        seconds.append(made.seconds)
        tokens += made.tokens
        recorder = PartRecorder([int((ids != PAD).sum()) for ids in (batch.source, batch.target_output)], vocab_size)
        with recorder.observe():
            step(batch)
        recorded.append(recorder.parts)
    names = {name: None for parts in recorded for name in parts}
    parts = {name: _median([parts.get(name, Part()) for parts in recorded]) for name in names}
    return Roofline(measure_peak(), parts, median(seconds), tokens // steps)


def make_batch(batch_tokens: int, vocab_size: int, generator: torch.Generator) -> Batch:
    """Make sentence pairs of random ids whose lengths differ by at most one token on each side of the batch's mean."""
    drawn = _MEAN_LENGTH + _DEVIATION * torch.randn((), generator=generator)
    length = int(drawn.clamp(5, 30))
    sentences = batch_tokens // (length + 1)
    sides = []
    for _ in ("source", "target"):
        ids = torch.randint(EOS + 1, vocab_size, (sentences, length + 1), generator=generator)
        lengths = torch.randint(length - 1, length + 2, (sentences, 1), generator=generator)
        lengths[0] = length + 1
        sides.append(ids.masked_fill(torch.arange(length + 1) >= lengths, PAD))
    source, target = sides
    return Batch(source, torch.nn.functional.pad(target, (0, 1), value=PAD))


def measure_peak() -> Peak:
    source = torch.ones(_COPIED // 4)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    return Peak(matrix_flops(torch.device("cpu")), 2 * _COPIED / min(seconds))


def _median(parts: list[Part]) -> Part:
    return Part(*(median(getattr(part, field) for part in parts) for field in Part.__dataclass_fields__))


def _sum(parts: list[Part]) -> Part:
    return Part(*(sum(getattr(part, field) for part in parts) for field in Part.__dataclass_fields__))


def table(roofline: Roofline) -> str:
    """Format as Markdown, sorted by lost time."""
    peak, rest = roofline.peak, roofline.seconds - roofline.observed
    rows = [(name, part, part.seconds - peak.seconds(part)) for name, part in roofline.parts.items()]
    small = [row for row in rows if row[1].seconds < _SMALL * roofline.seconds]
    rows = [row for row in rows if row not in small]
    rows += [(f"{len(small)} other operations", _sum([part for _, part, _ in small]), sum(lost for *_, lost in small))]
    rows.append((OVERHEAD, Part(seconds=rest), rest))
    rows.sort(key=lambda row: -row[2])
    needed = sum(peak.seconds(part) for _, part, _ in rows)
    total = _sum([part for _, part, _ in rows])
    lines = [
        "| part | calls | MFLOP | MB | needed ms | measured ms | lost ms | of the step |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, part, lost in [*rows, ("the step", total, total.seconds - needed)]:
        values = [1e-6 * part.operations, 1e-6 * part.bytes]
        times = [1e3 * seconds for seconds in (peak.seconds(part), part.seconds, lost)]
        if name == "the step":
            times[0] = 1e3 * needed
        lines.append(
            f"| {name} | {part.calls:g} | {' | '.join(f'{value:,.0f}' for value in values)} | "
            f"{' | '.join(f'{value:,.1f}' for value in times)} | {part.seconds / roofline.seconds:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="tiny,small,base", help=f"any of {','.join(SIZES)}")
    parser.add_argument("--threads", default="2,1", help="numbers of threads")
    parser.add_argument("--optimizers", default="adam,muon", help="adam, muon or both")
    parser.add_argument("--batch-tokens", type=int, help="tokens per batch, by default those of the size")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="further settings")
    parser.add_argument("--steps", type=int, default=7, help="observed steps per table")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the page")
    args = parser.parse_args()
    if unknown := set(args.sizes.split(",")) - set(SIZES):
        parser.error(f"--sizes {','.join(sorted(unknown))}: choose from {', '.join(SIZES)}")
    keep_freed_memory()
    sections = []
    for size in args.sizes.split(","):
        for threads in map(int, args.threads.split(",")):
            for optimizer in args.optimizers.split(","):
                torch.set_num_threads(threads)
                config = size_config(size).override([f"training.optimizer={optimizer}", *args.set])
                roofline = measure(
                    config, config.data.vocab_size, args.steps, args.batch_tokens or SIZES[size].batch_tokens
                )
                sections.append(_section(size, threads, optimizer, roofline))
                print(f"{sections[-1]}\n", flush=True)
    date, command = time.strftime("%Y-%m-%d"), " ".join(["python benchmarks/roofline.py", *sys.argv[1:]])
    page = args.out / f"{date}-roofline.md"
    args.out.mkdir(parents=True, exist_ok=True)
    body = "\n\n".join(sections)
    page.write_text(
        f"# Where a training step's time goes, {date}\n{machine()}\n\n`{command}`\n\n{body}\n", encoding="utf-8"
    )
    print(page)


def _section(size: str, threads: int, optimizer: str, roofline: Roofline) -> str:
    peak, rate = roofline.peak, roofline.tokens / roofline.seconds
    needed = sum(peak.seconds(part) for part in roofline.parts.values())
    arithmetic = sum(part.operations for part in roofline.parts.values())
    shares = [arithmetic / peak.flops / roofline.seconds, needed / roofline.seconds]
    head = (
        f"**{size}**, {threads} threads, {optimizer}: {roofline.tokens:,} target tokens per step, {rate:,.0f} "
        f"per second; peak {peak.flops / 1e9:,.0f} GFLOP/s and {peak.bandwidth / 1e9:,.0f} GB/s; {shares[0]:.0%} "
        f"of the peak, {shares[1]:.0%} of the roofline"
    )
    return f"{head}\n\n{table(roofline)}"


if __name__ == "__main__":
    main()
