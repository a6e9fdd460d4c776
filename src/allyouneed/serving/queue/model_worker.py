"""Tasks of the model threads: each maps a translator and a batch of payloads to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from allyouneed.insight.attribution.questions import live_attribution
from allyouneed.insight.explorer import explorer_data, live_variant
from allyouneed.insight.patching.patching_data import live_patching
from allyouneed.insight.variants.switches import single_switches, switches_from
from allyouneed.serving.registry import LanguagePair, TranslatorRegistry
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.part_translation import occurrences
from allyouneed.translation.scoring import score_pairs, word_log_probabilities
from allyouneed.translation.sentence import Sentence, Span
from allyouneed.translation.sentence_translation import translate_sentences
from allyouneed.translation.streaming import stream_translation
from allyouneed.translation.translator import Translator


class TranslationOptions(NamedTuple):
    """Options of a translation task; hashable, so that requests with equal options can share a batch.

    Attributes:
        search: Search options, passed on to `Translator.translate` unchanged.
        target_prefix: Text that the translation of each sentence begins with.
        force_words: Words or phrases that each sentence's translation contains.
        words: Whether to compute word scores and word alignment.
        links: Whether to return the positions of aligned words.
    """

    search: SearchOptions = SearchOptions()
    target_prefix: str = ""
    force_words: tuple[str, ...] = ()
    words: bool = False
    links: bool = False

    def for_one_best(self) -> TranslationOptions:
        """Return the options for one hypothesis without constraints on the target text."""
        return TranslationOptions(self.search.replace({"num_hypotheses": 1}), words=self.words, links=self.links)


class SentenceTranslation(NamedTuple):
    """The translation of one sentence.

    Attributes:
        text: Best translation.
        score: Its score.
        hypotheses: Texts and scores, best first.
        word_scores: Log probability of each word of `text`, split at spaces; empty unless requested.
        alignment: Indices of aligned (source, target) words; empty unless requested.
        kept: Positions of the parts that are kept, in the order of the source.
        links: Positions of aligned (source, target) words; empty unless requested.
        problems: What could not be guaranteed.
    """

    text: str
    score: float
    hypotheses: list[tuple[str, float]]
    word_scores: Sequence[float] = ()
    alignment: Sequence[tuple[int, int]] = ()
    kept: tuple[Span, ...] = ()
    links: tuple[tuple[Span, Span], ...] = ()
    problems: tuple[str, ...] = ()


class StreamingSentence(NamedTuple):
    """A sentence whose partial translations are passed to `on_text`; an exception in `on_text` stops the search."""

    text: str
    on_text: Callable[[str], None]


class SwitchedSentence(NamedTuple):
    """A sentence, its translation, and the switches (as JSON) of the variant to compute."""

    text: str
    translation: str
    switches: dict[str, Any]


class ContrastedSentence(NamedTuple):
    """A sentence, and the tokens of two translations or their beginnings, of which one is preferred."""

    text: str
    candidate: tuple[str, ...]
    instead_of: tuple[str, ...]


class PatchedSentences(NamedTuple):
    """A sentence, and another one whose pass receives its activations."""

    text: str
    against: str


class BatchKey(NamedTuple):
    """Key of a batch: `task(translator, payloads, options)` returns the results of payloads with equal keys."""

    task: Callable[[Translator, Sequence[Any], TranslationOptions], list[Any]]
    pair: LanguagePair
    options: TranslationOptions = TranslationOptions()


class ModelWorker:
    """Runs tasks in one model thread; all threads share the translators.

    Args:
        registry: The served translators.
    """

    def __init__(self, registry: TranslatorRegistry):
        torch.set_num_threads(1)  # by default there is already one model thread per core
        self._translators = registry.translators
        for translator in self._translators.values():  # compile kernels before the first request
            translator.translate(".")

    def work(self, key: BatchKey, payloads: Sequence[Any]) -> list[Any]:
        """Run a batch and return one result per payload."""
        return key.task(self._translators[key.pair], payloads, key.options)


def translate(
    translator: Translator, sentences: Sequence[Sentence], options: TranslationOptions
) -> list[SentenceTranslation]:
    """Translate a batch of sentences; what must be kept is kept, unless the target text must begin with a prefix."""
    if options.target_prefix:  # it may contain what must be kept
        texts = [sentence.text for sentence in sentences]
        translations = translator.translate(
            texts, options.search, target_prefix=options.target_prefix, force_words=options.force_words
        )
        results = [
            SentenceTranslation(
                found.text, found.score, found.hypotheses, problems=(*lost_parts(sentence, found.text), *found.problems)
            )
            for sentence, found in zip(sentences, translations, strict=True)
        ]
    else:
        results = [
            SentenceTranslation(
                found.text, found.score, list(found.hypotheses), (), (), found.kept, found.links, found.problems
            )
            for found in translate_sentences(translator, sentences, options.search, options.links, options.force_words)
        ]
    if not options.words:
        return results
    # A sentence in several pieces is longer than all training sentences, so it is not scored as a whole.
    return [
        _with_word_scores(translator, sentence.text, result) if _is_short(translator, sentence.text) else result
        for sentence, result in zip(sentences, results, strict=True)
    ]


def lost_parts(sentence: Sentence, text: str) -> tuple[str, ...]:
    """Return a problem for each part or term that must be in a translation with a given beginning, and is not."""
    lost = [part for part in (sentence.text[start:end] for start, end in sentence.kept) if part not in text]
    lost += [term.target for term in sentence.terms if not occurrences(text, term.target)]
    return tuple(f"“{part}” is missing in the translation, because of its prefix." for part in lost)


def translate_streaming(
    translator: Translator, payloads: Sequence[StreamingSentence], options: TranslationOptions
) -> list[SentenceTranslation]:
    """Translate greedily, passing on partial translations; a beam could revise text that was already sent."""
    return [_stream(translator, payload, options) for payload in payloads]


def explore(translator: Translator, sentences: Sequence[str], options: TranslationOptions) -> list[dict[str, Any]]:
    """Compute the explorer's data; variants with single heads off are left to `explore_switched` on demand."""
    included = [switches for switches in single_switches(translator.model) if not switches.off]
    return [explorer_data(translator, sentence, included, served=True) for sentence in sentences]


def explore_switched(
    translator: Translator, payloads: Sequence[SwitchedSentence], options: TranslationOptions
) -> list[dict[str, Any]]:
    """Compute the variants that an open explorer page requests."""
    return [
        live_variant(translator, text, translation, switches_from(switches, translator.model))
        for text, translation, switches in payloads
    ]


def explore_contrast(
    translator: Translator, payloads: Sequence[ContrastedSentence], options: TranslationOptions
) -> list[dict[str, Any]]:
    """Answer why one token is preferred to another, as an open explorer page asks."""
    return [live_attribution(translator, *payload) for payload in payloads]


def explore_patching(
    translator: Translator, payloads: Sequence[PatchedSentences], options: TranslationOptions
) -> list[dict[str, Any]]:
    """Patch activations of one sentence into another, as an open explorer page asks."""
    return [live_patching(translator, *payload) for payload in payloads]


def _stream(translator: Translator, payload: StreamingSentence, options: TranslationOptions) -> SentenceTranslation:
    if not _is_short(translator, payload.text):
        [result] = translate(translator, [Sentence(payload.text)], options)
        return result
    text, score, problems = stream_translation(translator, payload.text, payload.on_text, options.search)
    result = SentenceTranslation(text, score, [(text, score)], problems=problems)
    return _with_word_scores(translator, payload.text, result) if options.words else result


def _is_short(translator: Translator, text: str) -> bool:
    """Return whether a text is translated in one piece."""
    return len(translator.tokenizer.encode(text)) < translator.longest_source


def _with_word_scores(translator: Translator, source: str, result: SentenceTranslation) -> SentenceTranslation:
    if not result.text.strip():
        return result
    [scored] = score_pairs(translator, [source.strip()], [result.text])
    return result._replace(word_scores=word_log_probabilities(scored), alignment=translator.align(source, result.text))
