"""What model threads do: the kinds of work, each a function of a translator and payloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from allyouneed.config import SearchConfig
from allyouneed.serving.pairs import Pair, Pairs, replica
from allyouneed.translation.scoring import score_pairs, word_log_probabilities
from allyouneed.translation.streaming import translate_aloud
from allyouneed.translation.translator import Translator


class Options(NamedTuple):
    """As `Translator.translate` has them. words: with scores and links of words; target_prefix: how each sentence's
    translation begins, force_words: what it contains."""

    beam_size: int | None = None
    num_hypotheses: int = 1
    length_penalty: float | None = None
    max_extra_length: int | None = None
    target_prefix: str = ""
    words: bool = False
    force_words: tuple[str, ...] = ()
    num_beam_groups: int = 1
    diversity_penalty: float = 0.5
    coverage_penalty: float = 0.0

    def plain(self) -> Options:
        """Without what is about the words and the number of translations."""
        return self._replace(num_hypotheses=1, target_prefix="", force_words=())

    def search(self, translator: Translator) -> SearchConfig:
        names = ("beam_size", "length_penalty", "max_extra_length")
        given = [f"search.{name}={value}" for name in names if (value := getattr(self, name)) is not None]
        return translator.bundle.config.override(given, "options").search


class Answer(NamedTuple):
    """One sentence's translation. hypotheses: texts and scores, best first; words: log probability of each word of the
    text, links: (source, target) words, both counted between spaces and empty unless asked for."""

    text: str
    score: float
    hypotheses: list[tuple[str, float]]
    words: Sequence[float] = ()
    links: Sequence[tuple[int, int]] = ()


class Aloud(NamedTuple):
    """A sentence whose translation `say` is told word by word; it raises when nobody listens any more."""

    text: str
    say: Callable[[str], None]


class Kind(NamedTuple):
    """What can share a batch. task(translator, payloads, options) -> answers."""

    task: Callable[[Translator, Sequence[Any], Options], list[Any]]
    pair: Pair
    options: Options = Options()


class ModelWorker:
    """What one model thread has for itself."""

    def __init__(self, pairs: Pairs):
        torch.set_num_threads(1)  # the threads are one a core already
        self._translators = {pair: replica(translator) for pair, translator in pairs.translators.items()}
        for translator in self._translators.values():  # kernels are compiled now, not while the first client waits
            translator.translate(["."])

    def work(self, kind: Kind, payloads: Sequence[Any]) -> list[Any]:
        return kind.task(self._translators[kind.pair], payloads, kind.options)


def translate(translator: Translator, sentences: Sequence[str], options: Options) -> list[Answer]:
    found = translator.translate(
        sentences,
        beam_size=options.beam_size,
        num_hypotheses=options.num_hypotheses,
        length_penalty=options.length_penalty,
        max_extra_length=options.max_extra_length,
        target_prefix=options.target_prefix,
        force_words=options.force_words,
        num_beam_groups=options.num_beam_groups,
        diversity_penalty=options.diversity_penalty,
        coverage_penalty=options.coverage_penalty,
    )
    answers = [Answer(one.text, one.score, one.hypotheses) for one in found]
    if not options.words:
        return answers
    # A sentence that was too long for the model is not shown to it whole: it was never trained for that.
    return [
        _with_words(translator, one.source, answer) if one.pieces == 1 else answer
        for one, answer in zip(found, answers, strict=True)
    ]


def translate_streaming(translator: Translator, payloads: Sequence[Aloud], options: Options) -> list[Answer]:
    """Greedy: only there a word that was said stays said."""
    return [_aloud(translator, payload, options) for payload in payloads]


class Switched(NamedTuple):
    """A sentence and its translation, to be seen with some of the model's switches turned, as JSON has them."""

    text: str
    translation: str
    switches: dict[str, Any]


def look_inside(translator: Translator, sentences: Sequence[str], options: Options) -> list[dict[str, Any]]:
    """What the explorer shows of each sentence; what comes of a head that is off it asks for when it is turned off."""
    from allyouneed.insight.explorer import explorer_data
    from allyouneed.insight.switches import single_switches

    carried = [switches for switches in single_switches(translator.model) if not switches.off]
    return [explorer_data(translator, sentence, carried) for sentence in sentences]


def look_switched(translator: Translator, payloads: Sequence[Switched], options: Options) -> list[dict[str, Any]]:
    """What an explorer that is open asks for: the variant of each."""
    from allyouneed.insight.explorer import live_variant
    from allyouneed.insight.switches import switches_from

    return [
        live_variant(translator, text, translation, switches_from(switches, translator.model))
        for text, translation, switches in payloads
    ]


def _aloud(translator: Translator, payload: Aloud, options: Options) -> Answer:
    if len(translator.tokenizer.encode(payload.text)) >= translator.longest_source:
        [answer] = translate(translator, [payload.text], options._replace(beam_size=1))
        return answer
    text, score = translate_aloud(translator, payload.text, payload.say, options.search(translator))
    answer = Answer(text, score, [(text, score)])
    return _with_words(translator, payload.text, answer) if options.words else answer


def _with_words(translator: Translator, source: str, answer: Answer) -> Answer:
    if not answer.text.strip():
        return answer
    [scored] = score_pairs(translator, [source.strip()], [answer.text])
    return answer._replace(words=word_log_probabilities(scored), links=translator.align(source, answer.text))
