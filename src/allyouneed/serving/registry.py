"""The served translators by language pair, and routes through intermediate languages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.languages import canonical_code, primary, same_language, stored_language_code
from allyouneed.serving.api_errors import ApiError
from allyouneed.translation.engine import FLOAT32
from allyouneed.translation.translator import Translator

LanguagePair = tuple[str, str]  # source and target code, see `languages.py`
Route = list[LanguagePair]  # pairs to translate through, in order
_MOST_CACHED = 1000  # clients choose the codes
_LONGEST_CODE = 90  # characters of a requested code that are compared; none that is served is longer


class TranslatorRegistry:
    """Translators by language pair, shared by all model threads.

    Args:
        translators: One translator for each served pair, with `inter_threads=1`, since model threads run in parallel.
    """

    def __init__(self, translators: dict[LanguagePair, Translator]):
        self.translators = translators
        self._served_code = lru_cache(_MOST_CACHED)(self._find_code)
        self._shortest_route = lru_cache(_MOST_CACHED)(self._search_route)
        self._origins: dict[str, list[str]] = {}
        for translator in translators.values():
            _ = translator.engine  # builds the engine before several threads share it

    @property
    def sources(self) -> list[str]:
        """Source languages, sorted."""
        return sorted({source for source, _ in self.translators})

    @property
    def languages(self) -> list[str]:
        """All languages, sources first."""
        return list(dict.fromkeys([*self.sources, *sorted(target for _, target in self.translators)]))

    def targets(self, source: str) -> list[str]:
        """Return the languages that can be reached from a source language, directly or through others."""
        codes = {target for _, target in self.translators}
        return sorted(code for code in codes if self._shortest_route(source, code))

    def origins(self, target: str) -> list[str]:
        """Return the languages from which a language can be reached, directly or through others."""
        if target not in self._origins:
            self._origins[target] = [source for source in self.sources if self._shortest_route(source, target)]
        return self._origins[target]

    def route(self, source: str, target: str) -> Route:
        """Return the shortest route between two languages.

        Raises:
            ApiError: 400 if a language is not served, or no route connects the two.
        """
        source, target = self.resolve(source), self.resolve(target)
        route = self._shortest_route(source, target)
        if not route:
            raise ApiError(400, f"no model translates {source} to {target}; GET /languages lists the language pairs")
        return route

    def resolve(self, code: str) -> str:
        """Return the served code for a requested one, in any spelling that `canonical_code` accepts.

        A variety falls back to its language (`en-GB` to `en`), and a language to its only served variety (`zh` and
        `zh-CN` to `zh-Hans`).

        Raises:
            ApiError: 400 if the language is not served.
        """
        return self._served_code(code)

    def _find_code(self, code: str) -> str:
        served = {code for pair in self.translators for code in pair}
        requested = canonical_code(code[:_LONGEST_CODE]) or f"x-{code[:_LONGEST_CODE].strip().lower()}"
        for candidate in (requested, primary(requested)):
            if candidate in served:
                return candidate
        related = [candidate for candidate in served if same_language(candidate, requested)]
        if len(related) == 1:
            return related[0]
        raise ApiError(400, f"{code[:20]} is not supported; GET /languages lists the languages")

    def _search_route(self, source: str, target: str) -> Route:
        """Search breadth-first; return [] if there is no route."""
        if source == target:
            return [(source, target)] if (source, target) in self.translators else []
        frontier: deque[tuple[str, Route]] = deque([(source, [])])
        visited = {source}
        while frontier:
            language, route = frontier.popleft()
            for pair in sorted(self.translators):
                if pair[0] == language and pair[1] not in visited:
                    if pair[1] == target:
                        return [*route, pair]
                    visited.add(pair[1])
                    frontier.append((pair[1], [*route, pair]))
        return []


def load_registry(runs: Iterable[Path], compute_type: str = FLOAT32) -> TranslatorRegistry:
    """Load the translators of runs and bundles.

    Args:
        runs: Folders of runs or bundles.
        compute_type: See `Translator`.

    Raises:
        UserError: If a folder cannot be read, or two translate the same language pair.
    """
    translators: dict[LanguagePair, Translator] = {}
    folders: dict[LanguagePair, Path] = {}
    for run in runs:
        loaded = Translator.load(run, inter_threads=1, compute_type=compute_type)
        _ = loaded.engine  # shared by all directions of a multilingual model
        for translator in loaded.each_direction():
            source, target = translator.bundle.languages
            pair = stored_language_code(source), stored_language_code(target)
            if pair in translators:
                raise UserError(
                    f"{run}: translates {pair[0]} to {pair[1]}, which {folders[pair]} already does. "
                    "Serve only one of them."
                )
            translators[pair], folders[pair] = translator, run
    return TranslatorRegistry(translators)
