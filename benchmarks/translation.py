"""Measure translation: `python benchmarks/translation.py RUN --source FILE --reference FILE --against NAMES`.

NAMES: comma-separated, from ctranslate2, fairseq, transformers, joeynmt, marian. `--student RUN` adds a student made by
`allyouneed distil`, with greedy search, to the tables of every beam size.

`--random base,big` instead of RUN measures models of these recipes with random weights and translations of a fixed
length, compared with CTranslate2, in which wide products dominate (measure/random_models.py). `opus-mt` is a model of
the shape of OPUS-MT's.

All engines use the same weights and text in alternating rounds; results are medians. Throughput is measured from text
to text with `--threads` threads on separate batches, latency for single sentences on one thread. The length penalty is
0, where all searches are equal except for their stopping criteria. fairseq, transformers, Joey NMT and Marian (fp32)
run as single-threaded processes that load our weights (peers/translator.py, peers/marian.py); all but transformers must
be installed by peers/*.sh (`--peers DIR`). The result is a dated Markdown page in benchmarks/results.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import torch  # noqa: E402

from allyouneed import Translator, UserError, kernels  # noqa: E402
from allyouneed.bundle import load_bundle  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from allyouneed.translation.evaluation.metrics import corpus_scores  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.peers import PEERS, Peer, store_weights  # noqa: E402
from benchmarks.measure.random_models import Load, measure_random, random_table  # noqa: E402

OURS, THEIRS, CTRANSLATE2 = "allyouneed", "CTranslate2", "ctranslate2"
Outputs = list[tuple[str, int]]  # texts and their numbers of tokens including the end
Run = Callable[[list[str], int], Outputs]


class Engine(NamedTuple):
    """Two functions of (texts, beam size): `many` with all threads for throughput, `one` with a single thread."""

    many: Run
    one: Run


class Measurement(NamedTuple):
    rates: list[float]  # tokens per second, including the end token
    sentences: list[float]  # per second
    latencies: list[float]  # seconds
    translations: list[str]


def main() -> None:
    args = _arguments()
    if args.random:
        _measure_random_models(args)
        return
    torch.set_num_threads(1)
    lines, references = (list(read_text(file))[: args.sentences] for file in (args.source, args.reference))
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in args.compute_type:
            translator = Translator.load(args.run, inter_threads=args.threads, compute_type=precision)
            engines[f"{OURS} {precision}"] = our_engine(translator, threads=1 if kernels.work() else args.threads)
            if CTRANSLATE2 in args.against:
                engines[f"{THEIRS} {precision}"] = ctranslate2_engine(
                    translator, Path(folder) / precision, precision, args
                )
        if args.student:
            for precision in args.compute_type:
                student = Translator.load(args.student, inter_threads=args.threads, compute_type=precision)
                engines[f"student, greedy, {precision}"] = our_engine(student, greedy=True)
        peers = _start_peers(translator, Path(folder), args)
        engines |= {name: _peer(peer, translator) for name, peer in peers.items()}
        tables = [_table(engines, lines, references, beam, args) for beam in args.beams]
        for peer in peers.values():
            peer.close()
    peak = _peak_memory()
    page = args.out / f"{time.strftime('%Y-%m-%d')}-translation.md"
    args.out.mkdir(parents=True, exist_ok=True)
    described = f"{len(lines):,} sentences, {args.threads} threads, {args.repeats} rounds, latency of {args.latency}"
    described += f" sentences per round; peak memory of this process {peak:,.0f} MiB"
    described += "".join(f"; processes of {name} {peer.peak:,.0f} MiB" for name, peer in peers.items())
    body = "\n\n".join(tables)
    page.write_text(f"# Translation, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{described}\n\n{body}\n", "utf-8")
    print(f"\n{body}\n\n{page}")


def _measure_random_models(args: argparse.Namespace) -> None:
    load = Load(args.sentences or 96, length=24, latency=min(args.latency, 10), threads=args.threads)
    tables = []
    for recipe in args.random:
        found = measure_random(recipe, args.compute_type, args.beams, load, args.repeats, lambda line: print(line))
        tables.append(random_table(recipe, load, found))
    date, body = time.strftime("%Y-%m-%d"), "\n\n".join(tables)
    args.out.mkdir(parents=True, exist_ok=True)
    page = args.out / f"{date}-translation-random.md"
    command = f"python benchmarks/translation.py --random {','.join(args.random)} --repeats {args.repeats}"
    page.write_text(f"# Translation by wide models, {date}\n{machine()}\n\n`{command}`\n\n{body}\n", "utf-8")
    print(f"\n{body}\n\n{page}")


def our_engine(translator: Translator, greedy: bool = False, threads: int = 1) -> Engine:
    """Translate with ours.

    greedy: Whatever the beam size. threads: PyTorch's threads for throughput; kernels translate batches in parallel.
    """

    def run(texts: list[str], beam: int) -> Outputs:
        size = 1 if greedy else beam
        options = {"beam_size": size, "length_penalty": 0.0, "repetition_guard": False}  # as the peers
        translations = translator.translate(texts, return_scores=False, **options)
        return [(translation.text, len(translation.tokens) + 1) for translation in translations]

    def many(texts: list[str], beam: int) -> Outputs:
        torch.set_num_threads(threads)
        outputs = run(texts, beam)
        torch.set_num_threads(1)
        return outputs

    return Engine(many, run)


def ctranslate2_engine(translator: Translator, folder: Path, precision: str, args: argparse.Namespace) -> Engine:
    """Translate with CTranslate2 and the same weights, exported to `folder`.

    `args` has run, threads, intra_threads and batch.
    """
    import ctranslate2

    from allyouneed.exchange.ctranslate2.export import export_ctranslate2

    export_ctranslate2(load_bundle(args.run), folder, None if precision == "float32" else precision)
    pieces, max_length = translator.tokenizer.pieces, translator.longest_source + 50
    decode = translator.tokenizer.target._processor.decode_pieces
    options = {"length_penalty": 0, "min_decoding_length": 0, "max_input_length": 0, "max_decoding_length": max_length}

    def runner(threads: int) -> Run:
        model = ctranslate2.Translator(
            str(folder), compute_type=precision, inter_threads=threads, intra_threads=args.intra_threads
        )

        def run(texts: list[str], beam: int) -> Outputs:
            source = [pieces(ids) for ids in translator.tokenizer.encode_all(texts)]
            results = model.translate_batch(source, beam_size=beam, max_batch_size=args.batch, **options)
            return [(decode(result.hypotheses[0]), len(result.hypotheses[0]) + 1) for result in results]

        return run

    return Engine(runner(args.threads), runner(1))


def _start_peers(translator: Translator, folder: Path, args: argparse.Namespace) -> dict[str, Peer]:
    names = [name for name in args.against if name in PEERS]
    venvs = {
        name: args.peers / name / "venv" for name in names if name != "transformers"
    }  # transformers is in this environment
    peers = {}
    for name in names:
        weights = store_weights(translator.bundle, folder, name)
        peers[name] = Peer(name, weights, venvs.get(name), args.threads, folder / f"{name}.log")
    return peers


def _peer(peer: Peer, translator: Translator) -> Engine:
    tokenizer = translator.tokenizer

    def runner(processes: int | None) -> Run:
        def run(texts: list[str], beam: int) -> Outputs:
            outputs = peer.translate(tokenizer.encode_all(texts), beam, processes)
            return [(tokenizer.target.decode(ids), len(ids) + 1) for ids in outputs]

        return run

    return Engine(runner(None), runner(1))


def _table(
    engines: dict[str, Engine], lines: list[str], references: list[str], beam: int, args: argparse.Namespace
) -> str:
    measurements = {name: Measurement([], [], [], []) for name in engines}
    for engine in engines.values():
        engine.many(lines[:200], beam)  # warm up
    gc.collect()
    gc.freeze()  # as our commands do: there would be more to collect with each program that this process has imported
    for repeat in range(args.repeats):
        for name, engine in engines.items():
            start = time.perf_counter()
            outputs = engine.many(lines, beam)
            seconds = time.perf_counter() - start
            measurements[name].rates.append(sum(count for _, count in outputs) / seconds)
            measurements[name].sentences.append(len(lines) / seconds)
            measurements[name].translations[:] = [text for text, _ in outputs]
            for line in lines[: args.latency]:
                start = time.perf_counter()
                engine.one([line], beam)
                measurements[name].latencies.append(time.perf_counter() - start)
        rates = ", ".join(f"{name} {measured.rates[-1]:,.0f}" for name, measured in measurements.items())
        print(f"beam {beam}, round {repeat + 1} of {args.repeats}: {rates}", flush=True)
    first = next(iter(measurements.values())).translations
    rows = [
        f"**beam {beam}**",
        "",
        "| | tokens/s: median (range) | ours / this, same type | sentences/s | latency ms p50 / p95 / p99 | BLEU "
        "| same text as the first |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, measured in measurements.items():
        rate = statistics.median(measured.rates)
        p50, p95, p99 = (1000 * statistics.quantiles(measured.latencies, n=100)[p - 1] for p in (50, 95, 99))
        bleu = corpus_scores(measured.translations, references, tokenized=True).bleu
        same = sum(a == b for a, b in zip(measured.translations, first, strict=True))
        precision = name.split()[-1]  # peers without a precision are compared with our first
        ours = measurements.get(f"{OURS} {precision}", next(iter(measurements.values())))
        ours_rate = statistics.median(ours.rates)
        rows.append(
            f"| {name} | {rate:,.0f} ({min(measured.rates):,.0f} to {max(measured.rates):,.0f}) | "
            f"{ours_rate / rate:.2f} × | {statistics.median(measured.sentences):,.0f} | "
            f"{p50:.1f} / {p95:.1f} / {p99:.1f} | {bleu:.2f} | {same:,} of {len(first):,} |"
        )
    return "\n".join(rows)


def _peak_memory() -> float:
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a run or a bundle")
    parser.add_argument(
        "--random", type=lambda text: text.split(","), help="recipes, instead of a run: base,big,opus-mt"
    )
    parser.add_argument("--source", type=Path)
    parser.add_argument("--reference", type=Path, help="tokenised like the source")
    known = ", ".join((CTRANSLATE2, *PEERS))
    parser.add_argument("--against", type=lambda text: text.split(","), default=[], help=known)
    both = ["float32", "int8"]
    parser.add_argument("--compute-type", type=lambda text: text.split(","), default=both, help="float32,int8")
    parser.add_argument("--sentences", type=int, help="number of source sentences (default: all)")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder of the peers installed by peers/*.sh")
    parser.add_argument("--student", type=Path, help="a run or a bundle, measured with greedy search")
    parser.add_argument("--beams", type=lambda text: [int(size) for size in text.split(",")], default=[1, 4])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--intra-threads", type=int, default=1, help="intra_threads of CTranslate2")
    parser.add_argument("--batch", type=int, default=64, help="sentences per batch of CTranslate2")
    parser.add_argument("--latency", type=int, default=100, help="sentences per round translated one by one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if not args.random and not (args.run and args.source and args.reference):
        parser.error("give RUN, --source and --reference, or --random")
    if args.latency < 2:
        parser.error("--latency must be at least 2 for quantiles")
    if unknown := set(args.against) - {CTRANSLATE2, *PEERS}:
        parser.error(f"--against {','.join(sorted(unknown))}: choose from {known}")
    return args


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
