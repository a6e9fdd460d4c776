"""Worker of `random_models.py`: loads one engine, then answers each request, a line of JSON, with a line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

from allyouneed.data.tokens.tokenizer import EOS
from benchmarks.measure.memory import peak_bytes
from benchmarks.measure.random_models import OURS, Load, NumberedTokens, random_bundle, settings_of

Translate = Callable[[list[list[int]], int, int], list[list[int]]]  # (sources, beam size, threads)
_FEW = 2  # sentences of a warm-up for each thread
_STORED = 8  # translations that are compared


def ours(recipe: str, compute_type: str, length: int) -> Translate:
    """Translate with the compiled engine, in batches as the translator makes them."""
    from allyouneed.translation.batch_search import BatchSearch
    from allyouneed.translation.engine import engine_for
    from allyouneed.translation.options import SearchOptions

    torch.set_num_threads(1)
    bundle = random_bundle(recipe)
    engine = engine_for(bundle.model, compute_type)

    def translate(sources: list[list[int]], beam: int, threads: int) -> list[list[int]]:
        options = SearchOptions(
            beam_size=beam, length_penalty=0.0, max_decoding_length=length, return_scores=False
        ).resolve(bundle.config.search)
        search = BatchSearch(options)
        sentences = [[*ids, EOS] for ids in sources]
        found = search.run_all(bundle.model, lambda tokens: engine, sentences, torch.device("cpu"), threads)
        return [hypotheses[0].ids for hypotheses in found]

    return translate


def ctranslate2(exported: str, vocab_size: int, compute_type: str, length: int, threads: int, batch: int) -> Translate:
    """Translate with CTranslate2: separate batches on all threads, or one sentence on all threads."""
    import ctranslate2

    options = {"compute_type": compute_type, "device": "cpu"}
    model = ctranslate2.Translator(exported, inter_threads=threads, intra_threads=1, **options)
    tokens = NumberedTokens(vocab_size)

    def translate(sources: list[list[int]], beam: int, threads: int) -> list[list[int]]:
        results = model.translate_batch(
            [tokens.pieces(ids) for ids in sources],
            beam_size=beam,
            max_batch_size=batch,
            length_penalty=0,
            max_decoding_length=length,
            min_decoding_length=0,
            max_input_length=0,
        )
        return [[int(token[1:]) for token in result.hypotheses[0]] for result in results]

    return translate


def main() -> None:
    request = json.loads(sys.stdin.readline())
    load = Load(**{name: request[name] for name in ("sentences", "length", "latency", "threads")})
    vocab_size = settings_of(request["recipe"]).data.vocab_size
    sources = load.sources(vocab_size)
    if request["engine"] == OURS:
        translate = ours(request["recipe"], request["compute_type"], load.length)
    else:
        batch = -(-load.sentences // load.threads)
        arguments = request["compute_type"], load.length, load.threads, batch
        translate = ctranslate2(request["exported"], vocab_size, *arguments)
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(_measure(translate, sources, load, **json.loads(line))), flush=True)


def _measure(translate: Translate, sources: list[list[int]], load: Load, beam: int, warm_up: bool) -> dict:
    if warm_up:
        translate(sources[: _FEW * load.threads], beam, load.threads)
        return {}
    start = time.perf_counter()
    outputs = translate(sources, beam, load.threads)
    seconds, latencies = time.perf_counter() - start, []
    for source in sources[: load.latency]:
        start = time.perf_counter()
        translate([source], beam, 1)
        latencies.append(time.perf_counter() - start)
    tokens = sum(map(len, outputs))
    if tokens != load.sentences * load.length:
        raise SystemExit(f"{tokens} tokens instead of {load.sentences} · {load.length}")
    rate = tokens / seconds
    return {"rate": rate, "latencies": latencies, "peak": peak_bytes(), "outputs": outputs[:_STORED]}


if __name__ == "__main__":
    main()
