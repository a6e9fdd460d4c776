"""Translation by models of the paper's sizes with random weights, compared with CTranslate2: `--random base,big`.

`opus-mt` is a model of the shape of OPUS-MT's: the sizes of `base` and about their vocabulary, with swish and biases.

Matrix products dominate in models of this width, and their time does not depend on the weights' values. A bias rules
out the end of sentence, so that every translation has exactly the given number of tokens in both engines. Each
combination of engine and compute type runs in a separate process, so that its peak memory can be measured too. In a
round, each of them translates once.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from allyouneed.bundle import Bundle
from allyouneed.config import Config, load_recipe
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.model.transformer import Transformer

OURS, THEIRS = "allyouneed", "CTranslate2"
_ROOT = Path(__file__).parents[2]
_EXCLUDED = -1e4  # a logit that is never chosen
_MEBIBYTE = 2**20
OPUS_MT = "opus-mt"
_OPUS_MT = ["model.norm=post", "model.activation=swish", "model.attention_bias=true", "data.vocab_size=58101"]


class NumberedTokens:
    """A replacement for a tokenizer: the export needs only the names of all tokens."""

    model = b""  # texts are not segmented

    def __init__(self, count: int):
        self.count, self.target = count, self

    def __len__(self) -> int:
        return self.count

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [f"t{i}" for i in ids]


@dataclass(frozen=True)
class Load:
    """The sentences to translate: random ones, all of the same length as their translations.

    Attributes:
        sentences: Number of sentences.
        length: Tokens of each source, without the end, and of each translation.
        latency: Number of sentences translated one by one.
        threads: Threads.
    """

    sentences: int
    length: int
    latency: int
    threads: int

    def sources(self, vocab_size: int) -> list[list[int]]:
        """Return token ids of the sources, without the end."""
        generator = torch.Generator().manual_seed(1)
        ids: list[list[int]] = torch.randint(
            EOS + 1, vocab_size, (self.sentences, self.length), generator=generator
        ).tolist()
        return ids


@dataclass
class Visits:
    """Measurements of one engine: tokens per second, seconds of a single sentence, peak bytes, first translations."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    peak: int = 0
    outputs: list[list[int]] = field(default_factory=list)


def settings_of(recipe: str) -> Config:
    """Return the settings of a recipe, or of `opus-mt`."""
    if recipe == OPUS_MT:
        return load_recipe("base").override(_OPUS_MT)
    return load_recipe(recipe)


def random_bundle(recipe: str) -> Bundle:
    """Make a bundle with the sizes of a recipe and random weights, which never ends a translation."""
    settings = settings_of(recipe)
    config = Config(model=settings.model.model_copy(update={"output_bias": True}), data=settings.data)
    torch.manual_seed(1)
    model = Transformer(config.model, config.data.vocab_size).eval()
    with torch.no_grad():
        model.output.bias.zero_()
        model.output.bias[EOS] = _EXCLUDED
    tokens: Any = NumberedTokens(config.data.vocab_size)
    return Bundle(model, tokenizer=tokens, config=config, languages=("de", "en"), longest_source=200)


def measure_random(
    recipe: str,
    compute_types: Sequence[str],
    beams: Sequence[int],
    load: Load,
    repeats: int,
    log: Callable[[str], None],
) -> dict[int, dict[str, Visits]]:
    """Measure both engines in alternating rounds.

    Args:
        recipe: Recipe with the sizes of the model.
        compute_types: "float32", "int8".
        beams: Beam sizes; 1 is greedy search.
        load: The sentences to translate.
        repeats: Number of rounds.
        log: Called with a progress message after each round.

    Returns:
        Visits by beam size and by the name of the engine.
    """
    found: dict[int, dict[str, Visits]] = {beam: {} for beam in beams}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        exported = _export(recipe, Path(folder) / "ctranslate2")
        engines = {
            f"{name} {compute_type}": stack.enter_context(_Process(name, recipe, compute_type, exported, load))
            for compute_type in compute_types
            for name in (OURS, THEIRS)
        }
        for beam in beams:
            for name, engine in engines.items():
                engine.visit(beam)  # not counted
                found[beam][name] = Visits()
            for repeat in range(repeats):
                for name, engine in engines.items():
                    engine.visit(beam, found[beam][name])
                rates = ", ".join(f"{name} {visits.rates[-1]:,.0f}" for name, visits in found[beam].items())
                log(f"{recipe}, beam {beam}, round {repeat + 1} of {repeats}: {rates}")
    return found


def random_table(recipe: str, load: Load, found: dict[int, dict[str, Visits]]) -> str:
    """Format as Markdown. Ratios are of the medians, with the same type of weights."""
    lines = [
        f"**{recipe}**, random weights: {load.sentences} sentences of {load.length} tokens into as many, "
        f"{load.threads} threads",
        "",
        "| beam | engine | tokens/s: median (range) | ours / this | one sentence, ms: p50 / p99 | this / ours, p50 "
        "| peak memory | same tokens as ours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for beam, engines in found.items():
        for name, visits in engines.items():
            ours = engines[f"{OURS} {name.split()[1]}"]
            rate, milliseconds = statistics.median(visits.rates), [1000 * each for each in visits.latencies]
            middle, ours_middle = statistics.median(milliseconds), 1000 * statistics.median(ours.latencies)
            p99 = statistics.quantiles(milliseconds, n=100)[98]
            pairs = zip(visits.outputs, ours.outputs, strict=True)
            same = sum(a == b for mine, others in pairs for a, b in zip(mine, others, strict=True))
            tokens = sum(map(len, ours.outputs))
            lines.append(
                f"| {beam} | {name} | {rate:,.0f} ({min(visits.rates):,.0f} to {max(visits.rates):,.0f}) | "
                f"{statistics.median(ours.rates) / rate:.2f} × | {middle:,.0f} / {p99:,.0f} | "
                f"{middle / ours_middle:.2f} × | {visits.peak / _MEBIBYTE:,.0f} MiB | {same / tokens:.0%} |"
            )
    return "\n".join(lines)


def _export(recipe: str, folder: Path) -> Path:
    from allyouneed.exchange.ctranslate2.export import export_ctranslate2  # ctranslate2 is optional

    export_ctranslate2(random_bundle(recipe), folder)
    return folder


class _Process:
    """A process that translates with one engine; see `random_models_worker.py`."""

    def __init__(self, engine: str, recipe: str, compute_type: str, exported: Path, load: Load):
        request = {"engine": engine, "recipe": recipe, "compute_type": compute_type, "exported": str(exported)}
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.measure.random_models_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._ask({**request, **vars(load)})

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def visit(self, beam: int, visits: Visits | None = None) -> None:
        """Translate everything, and single sentences; a visit without `visits` only warms up."""
        answer = self._ask({"beam": beam, "warm_up": visits is None})
        if visits is not None:
            visits.rates.append(answer["rate"])
            visits.latencies += answer["latencies"]
            visits.peak, visits.outputs = answer["peak"], answer["outputs"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit("a translating process ended; see its messages above")
