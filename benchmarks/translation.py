"""Translation, measured: `python benchmarks/translation.py RUN --source FILE --reference FILE --against NAMES`.

NAMES: some of ctranslate2, fairseq, transformers, joeynmt, with commas. `--student RUN` is one more of ours, greedy, in
the tables of every beam: what `allyouneed distil` made of RUN.

The same weights and text for all, in turn, round after round; medians. Throughput is from text to text with two (or
`--threads`) threads, each on batches of its own; latency is of one sentence at a time on one thread. All searches keep
log probabilities as they are (length penalty 0), where all searches are the same but for when they stop. fairseq,
transformers and Joey NMT are processes of one thread that are given our weights by peers/translator.py; fairseq and
Joey NMT need what peers/*.sh set up (`--peers DIR`). The result is a dated Markdown page in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found, whatever the working folder

import torch  # noqa: E402

from allyouneed import Translator  # noqa: E402
from allyouneed.bundle import load_bundle  # noqa: E402
from allyouneed.data.formats import read_text  # noqa: E402
from allyouneed.translation.metrics import corpus_scores  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.peers import PEERS, Peer, store_weights  # noqa: E402

OURS, THEIRS, CTRANSLATE2 = "allyouneed", "CTranslate2", "ctranslate2"
Answers = list[tuple[str, int]]  # texts, and their subwords, end included
Run = Callable[[list[str], int], Answers]


class Engine(NamedTuple):
    """Two ways to call it: (texts, beam size), for throughput with many threads and for one sentence with one."""

    many: Run
    one: Run


class Measured(NamedTuple):
    rates: list[float]  # subwords a second, end included
    sentences: list[float]  # a second
    latencies: list[float]  # seconds
    translations: list[str]


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(1)
    lines, references = (list(read_text(file))[: asked.sentences] for file in (asked.source, asked.reference))
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in asked.compute_type:
            translator = Translator.load(asked.run, inter_threads=asked.threads, compute_type=precision)
            engines[f"{OURS} {precision}"] = _ours(translator)
            if CTRANSLATE2 in asked.against:
                engines[f"{THEIRS} {precision}"] = _ctranslate2(translator, Path(folder) / precision, precision, asked)
        if asked.student:
            for precision in asked.compute_type:
                student = Translator.load(asked.student, inter_threads=asked.threads, compute_type=precision)
                engines[f"its student, greedy, {precision}"] = _ours(student, greedy=True)
        peers = _start_peers(translator, Path(folder), asked)
        engines |= {name: _peer(peer, translator) for name, peer in peers.items()}
        tables = [_table(engines, lines, references, beam, asked) for beam in asked.beams]
        for peer in peers.values():
            peer.close()
    peak = _peak_memory()
    page = asked.out / f"{time.strftime('%Y-%m-%d')}-translation.md"
    asked.out.mkdir(parents=True, exist_ok=True)
    described = f"{len(lines):,} sentences, {asked.threads} threads, {asked.repeats} rounds, latency of {asked.latency}"
    described += f" sentences in each; peak memory of all in one process {peak:,.0f} MiB"
    described += "".join(f"; {name}'s processes {peer.peak:,.0f} MiB" for name, peer in peers.items())
    body = "\n\n".join(tables)
    page.write_text(f"# Translation, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{described}\n\n{body}\n", "utf-8")
    print(f"\n{body}\n\n{page}")


def _ours(translator: Translator, greedy: bool = False) -> Engine:
    def run(texts: list[str], beam: int) -> Answers:
        size = 1 if greedy else beam
        found = translator.translate(texts, beam_size=size, length_penalty=0.0, return_scores=False)
        return [(one.text, len(one.tokens) + 1) for one in found]

    return Engine(run, run)


def _ctranslate2(translator: Translator, folder: Path, precision: str, asked: argparse.Namespace) -> Engine:
    import ctranslate2

    from allyouneed.exchange.ctranslate2 import export_ctranslate2

    export_ctranslate2(load_bundle(asked.run), folder, None if precision == "float32" else precision)
    pieces, longest = translator.tokenizer.pieces, translator.longest_source + 50
    decode = translator.tokenizer.target._processor.decode_pieces
    options = {"length_penalty": 0, "min_decoding_length": 0, "max_input_length": 0, "max_decoding_length": longest}

    def runner(threads: int) -> Run:
        model = ctranslate2.Translator(
            str(folder), compute_type=precision, inter_threads=threads, intra_threads=asked.intra_threads
        )

        def run(texts: list[str], beam: int) -> Answers:
            source = [pieces(ids) for ids in translator.tokenizer.encode_all(texts)]
            found = model.translate_batch(source, beam_size=beam, max_batch_size=asked.batch, **options)
            said = [one.hypotheses[0] for one in found]
            return [(decode(one), len(one) + 1) for one in said]

        return run

    return Engine(runner(asked.threads), runner(1))


def _start_peers(translator: Translator, folder: Path, asked: argparse.Namespace) -> dict[str, Peer]:
    names = [name for name in asked.against if name in PEERS]
    weights = store_weights(translator.bundle, folder / "weights.pt") if names else folder
    venvs = {name: asked.peers / name / "venv" for name in names if name != "transformers"}  # which is in ours
    return {name: Peer(name, weights, venvs.get(name), asked.threads, folder / f"{name}.log") for name in names}


def _peer(peer: Peer, translator: Translator) -> Engine:
    tokenizer = translator.tokenizer

    def runner(processes: int | None) -> Run:
        def run(texts: list[str], beam: int) -> Answers:
            said = peer.translate(tokenizer.encode_all(texts), beam, processes)
            return [(tokenizer.target.decode(ids), len(ids) + 1) for ids in said]

        return run

    return Engine(runner(None), runner(1))


def _table(
    engines: dict[str, Engine], lines: list[str], references: list[str], beam: int, asked: argparse.Namespace
) -> str:
    found = {name: Measured([], [], [], []) for name in engines}
    for engine in engines.values():
        engine.many(lines[:200], beam)  # whatever is made ready at the first use
    for repeat in range(asked.repeats):
        for name, engine in engines.items():
            begun = time.perf_counter()
            answers = engine.many(lines, beam)
            seconds = time.perf_counter() - begun
            found[name].rates.append(sum(count for _, count in answers) / seconds)
            found[name].sentences.append(len(lines) / seconds)
            found[name].translations[:] = [text for text, _ in answers]
            for line in lines[: asked.latency]:
                begun = time.perf_counter()
                engine.one([line], beam)
                found[name].latencies.append(time.perf_counter() - begun)
        rates = ", ".join(f"{name} {measured.rates[-1]:,.0f}" for name, measured in found.items())
        print(f"beam {beam}, round {repeat + 1} of {asked.repeats}: {rates}", flush=True)
    first = next(iter(found.values())).translations
    rows = [
        f"**beam {beam}**",
        "",
        "| | subwords/s: median (range) | ours of that type to it | sentences/s | latency ms p50 / p95 / p99 | BLEU "
        "| the first's text |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        rate = statistics.median(one.rates)
        p50, p95, p99 = (1000 * statistics.quantiles(one.latencies, n=100)[p - 1] for p in (50, 95, 99))
        bleu = corpus_scores(one.translations, references, tokenized=True).bleu
        same = sum(a == b for a, b in zip(one.translations, first, strict=True))
        precision = name.split()[-1]  # peers that have but one are compared with our first
        ours = statistics.median(found.get(f"{OURS} {precision}", next(iter(found.values()))).rates)
        rows.append(
            f"| {name} | {rate:,.0f} ({min(one.rates):,.0f} to {max(one.rates):,.0f}) | "
            f"{ours / rate:.2f} × | {statistics.median(one.sentences):,.0f} | "
            f"{p50:.1f} / {p95:.1f} / {p99:.1f} | {bleu:.2f} | {same:,} of {len(first):,} |"
        )
    return "\n".join(rows)


def _peak_memory() -> float:
    """MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="tokenised, as the source")
    known = ", ".join((CTRANSLATE2, *PEERS))
    parser.add_argument("--against", type=lambda text: text.split(","), default=[], help=known)
    both = ["float32", "int8"]
    parser.add_argument("--compute-type", type=lambda text: text.split(","), default=both, help="float32,int8")
    parser.add_argument("--sentences", type=int, help="of the source, so many; all if absent")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="where peers/*.sh set up theirs")
    parser.add_argument("--student", type=Path, help="a run or a bundle, compared greedily")
    parser.add_argument("--beams", type=lambda text: [int(one) for one in text.split(",")], default=[1, 4])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--intra-threads", type=int, default=1, help="of CTranslate2")
    parser.add_argument("--batch", type=int, default=64, help="sentences of a batch of CTranslate2")
    parser.add_argument("--latency", type=int, default=100, help="sentences of each round that go one by one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    asked = parser.parse_args()
    if asked.latency < 2:
        parser.error("--latency: of fewer than 2 there are no quantiles")
    if unknown := set(asked.against) - {CTRANSLATE2, *PEERS}:
        parser.error(f"--against {','.join(sorted(unknown))}: there are {known}")
    return asked


if __name__ == "__main__":
    main()
