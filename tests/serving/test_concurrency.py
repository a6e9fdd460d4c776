"""Model threads share one translator per language pair."""

from __future__ import annotations

import asyncio
from typing import Any

from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.serving.pipeline.text_pipeline import TranslationPipeline
from allyouneed.serving.queue.model_worker import ContrastedSentence, ModelWorker, SwitchedSentence, TranslationOptions
from allyouneed.serving.queue.request_queue import QueueLimits, RequestQueue
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.translation.options import SearchOptions

ROUTE = [("aa", "bb")]
TEXTS = ["a b c d e", "h g f", "c c a b", "d e f g h"]
OPTIONS = [
    TranslationOptions(SearchOptions(beam_size=4, num_hypotheses=3), words=True),
    TranslationOptions(SearchOptions(beam_size=4, coverage_penalty=0.3)),
    TranslationOptions(SearchOptions(beam_size=4), force_words=("h g",), words=True),
    TranslationOptions(SearchOptions(beam_size=1, no_repeat_ngram_size=2), words=True),
]
SWITCHES: list[dict[str, Any]] = [{"scale": False}, {"positions": False}, {"off": [["encoder", 0, 1]]}]


def run_mixed_work(registry: TranslatorRegistry, threads: int) -> list[Any]:
    """Run tasks of all kinds concurrently; batches have one item, so that results do not depend on the batch."""
    limits = QueueLimits(threads, batch_tokens=1, gather_seconds=0)
    queue = RequestQueue(lambda: ModelWorker(registry), lambda key, payload: 1, limits)
    pipeline = TranslationPipeline(registry, queue)

    async def run_all() -> list[Any]:
        tasks = []
        for text in TEXTS:
            tasks += [pipeline.translate([text], ROUTE, options, split=False) for options in OPTIONS]
            tasks.append(pipeline.translate_markup(f"<p>{text} <b>a b</b></p>", ROUTE, OPTIONS[0], MarkupRules()))
            tasks.append(pipeline.stream(text, ROUTE, TranslationOptions(words=True), lambda so_far: None))
            tasks.append(pipeline.explore(ROUTE, text))
            tasks.append(pipeline.explore(ROUTE, ContrastedSentence(text, ("▁a", "▁b"), ("▁a", "▁c"))))
            tasks += [pipeline.explore(ROUTE, SwitchedSentence(text, "a b c", switches)) for switches in SWITCHES]
        return await asyncio.gather(*tasks)

    queue.start()
    try:
        return asyncio.run(run_all())
    finally:
        queue.close()


def test_eight_threads_return_the_results_of_one(registry):
    serial = run_mixed_work(registry, threads=1)
    for _ in range(3):
        assert run_mixed_work(registry, threads=8) == serial
