"""Which languages lead where: a translator for each pair, and ways over a third language where there is none."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.translation.engine.engine import FLOAT32
from allyouneed.translation.translator import Translator

Pair = tuple[str, str]


class Pairs:
    """translators: by (source, target), codes in lower case."""

    def __init__(self, translators: dict[Pair, Translator]):
        self.translators = translators
        for translator in translators.values():
            _ = translator.engine  # made once, before threads ask for it at the same time

    @property
    def sources(self) -> list[str]:
        return sorted({source for source, _ in self.translators})

    def targets(self, source: str) -> list[str]:
        """Languages that a source can become, over others too."""
        codes = {target for _, target in self.translators} - {source}
        return sorted(code for code in codes if self._shortest(source, code))

    def route(self, source: str, target: str) -> list[Pair]:
        """The pairs to go through: one where there is a direct model, else the fewest.

        Errors: `ApiError` 400 for a language that is not served, or a pair that no way leads through.
        """
        source, target = self.known(source), self.known(target)
        way = self._shortest(source, target)
        if not way:
            raise ApiError(400, f"no model translates {source} to {target}; GET /languages tells which there are")
        return way

    def known(self, code: str) -> str:
        """The code as it is served: of any case, and `en-gb` as `en` where there is only that."""
        codes = {code for pair in self.translators for code in pair}
        wanted = code.strip().lower().replace("_", "-")
        for candidate in (wanted, wanted.partition("-")[0]):
            if candidate in codes:
                return candidate
        raise ApiError(400, f"{code[:20]} is not supported; GET /languages tells which languages are")

    def _shortest(self, source: str, target: str) -> list[Pair]:
        ways: deque[tuple[str, list[Pair]]] = deque([(source, [])])
        seen = {source}
        while ways:
            here, way = ways.popleft()
            for pair in sorted(self.translators):
                if pair[0] == here and pair[1] not in seen:
                    if pair[1] == target:
                        return [*way, pair]
                    seen.add(pair[1])
                    ways.append((pair[1], [*way, pair]))
        return []


def load_pairs(runs: Iterable[Path], compute_type: str = FLOAT32) -> Pairs:
    """Of RUNs and bundles. Errors: `UserError` when one cannot be read, or two translate the same pair."""
    translators: dict[Pair, Translator] = {}
    places: dict[Pair, Path] = {}
    for run in runs:
        translator = Translator.load(run, compute_type=compute_type)
        source, target = translator.bundle.languages
        pair = source.lower(), target.lower()
        if pair in translators:
            raise UserError(f"{run}: translates {pair[0]} to {pair[1]}, as {places[pair]} does. Give one of them.")
        translators[pair], places[pair] = translator, run
    return Pairs(translators)


def replica(translator: Translator) -> Translator:
    """A translator for another thread alone: the same weights in memory, but a model's switches of its own."""
    model = translator.bundle.model
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = Translator(replace(translator.bundle, model=copy.deepcopy(model, shared)), translator.device, 1)
    if translator.engine is not model:
        twin.engine = translator.engine  # has no switches, and may be used by several threads
        twin.compute_type = translator.compute_type
    return twin
