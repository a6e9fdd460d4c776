"""Several threads share one translator to record attention, align, score and translate at the same time."""

import random
import threading
from collections.abc import Callable
from typing import Any

import torch

from allyouneed import Translator
from allyouneed.insight.explorer import live_variant
from allyouneed.insight.variants.switches import Switches
from allyouneed.translation.scoring import score_pairs

THREADS, CALLS = 8, 50
PAIRS = [("a b c", "c b a"), ("d e", "e d"), ("a c e b", "b e c a"), ("b", "b")]


def calls(translator: Translator) -> list[Callable[[], Any]]:
    """Return calls of every kind, whose results can be compared with `==`."""

    def look(source: str, target: str) -> list[bytes]:
        attention = translator.look(source, target)
        stages = [array.tobytes() for kind in attention.stages.values() for layer in kind for array in layer.values()]
        return [attention.encoder.tobytes(), attention.decoder.tobytes(), attention.cross.tobytes(), *stages]

    def translate(source: str, target: str) -> tuple[str, float]:
        [found] = translator.translate([source])
        return found.text, found.score

    def score(source: str, target: str) -> str:
        return repr(score_pairs(translator, [source], [target]))

    def variant(source: str, target: str) -> dict[str, Any]:
        return live_variant(translator, source, target, Switches(scale=False, positions=False))

    kinds = (translator.align, look, translate, score, variant)
    return [lambda kind=kind, pair=pair: kind(*pair) for kind in kinds for pair in PAIRS]


def state(model: torch.nn.Module) -> dict[str, Any]:
    """Everything that a call could change: parameters, buffers, and plain attributes of all modules."""
    attributes = {
        f"{name}.{key}": repr(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.endswith("_sinusoids")  # a cache that grows
    }
    return {**attributes, **{name: x.numpy().tobytes() for name, x in model.state_dict().items()}}


def test_threads_get_the_results_of_serial_calls_and_leave_the_model_unchanged(translator):
    before, prepared = state(translator.model), calls(translator)
    expected = [call() for call in prepared]
    differences: list[Any] = []

    def work(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(CALLS):
            number = generator.randrange(len(prepared))
            try:
                found = prepared[number]()
            except Exception as error:  # reported by the assertion below
                found = error
            if found != expected[number]:
                differences.append((number, found))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not differences
    assert state(translator.model) == before
