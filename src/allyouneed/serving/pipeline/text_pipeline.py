"""Translation pipeline: splits texts into sentences, queues them along a route, and assembles the translations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from allyouneed.documents.document_translation import Key, Memory, sentence_keys
from allyouneed.documents.formats.markup.markup_document import MarkupText
from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.documents.segment_translation import (
    PROTECTION,
    Finders,
    PreparedSegment,
    SegmentTranslation,
    assemble,
    is_unchanged,
    prepare,
)
from allyouneed.documents.segments import Parts
from allyouneed.documents.sentences import join_sentences
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.pipeline.long_sentences import with_code
from allyouneed.serving.pipeline.preparation import PreparationThreads
from allyouneed.serving.pipeline.sentence_pipeline import SentencePipeline
from allyouneed.serving.pipeline.word_alternatives import WordAlternative
from allyouneed.serving.queue.model_worker import (
    BatchKey,
    ContrastedSentence,
    PatchedSentences,
    SentenceTranslation,
    SwitchedSentence,
    TranslationOptions,
    explore,
    explore_contrast,
    explore_patching,
    explore_switched,
)
from allyouneed.serving.queue.request_queue import RequestQueue
from allyouneed.serving.registry import Route, TranslatorRegistry
from allyouneed.translation.sentence import Span, TranslatedSentence
from allyouneed.translation.stopping import check_needed
from allyouneed.translation.translator import Translator

_WORD = re.compile(r"[^ ]+")
_UNCHANGED = "“{}” is unchanged in the translation."
CharSpan = tuple[int, int]
Finish = Callable[[str, str], str]
_EXPLORER_TASKS: dict[type, Callable[[Translator, Sequence[Any], TranslationOptions], list[Any]]] = {
    str: explore,
    SwitchedSentence: explore_switched,
    ContrastedSentence: explore_contrast,
    PatchedSentences: explore_patching,
}


class AlignedSentence(NamedTuple):
    """A translated sentence and its position in both texts.

    Attributes:
        source: (start, end) in characters of the whole source text.
        target: (start, end) in characters of the whole translation.
        translation: Text, score and hypotheses of the sentence.
        words: Position and log probability of each target word.
        links: Positions of aligned (source, target) words.
    """

    source: CharSpan
    target: CharSpan
    translation: SentenceTranslation
    words: list[tuple[CharSpan, float]]
    links: list[tuple[CharSpan, CharSpan]]


class TextTranslation(NamedTuple):
    """The translation of a text; each alternative joins the equally ranked hypotheses of all sentences.

    `problems` has what could not be guaranteed, and the sentences that are unchanged.
    """

    text: str
    alternatives: list[str]
    sentences: list[AlignedSentence]
    problems: tuple[str, ...] = ()


class _PreparedText(NamedTuple):
    """A text from index `start` on; `code` is the target-language code before it, such as `>>fr<<`."""

    code: str
    start: int
    segment: PreparedSegment


class TranslationPipeline:
    """Translates texts and documents through the request queue.

    Args:
        registry: The served translators.
        queue: Queue of the model threads.
        finders: Find what translations must keep.
        seconds: Time limit of reading, splitting and writing a text.

    Attributes:
        preparation: Threads that read, split and write long texts.
        sentences: Translates sentences.
    """

    def __init__(
        self, registry: TranslatorRegistry, queue: RequestQueue, finders: Finders = PROTECTION, seconds: float = 60.0
    ):
        self.registry, self.queue, self.finders = registry, queue, finders
        self.preparation = PreparationThreads(seconds)
        self.sentences = SentencePipeline(registry, queue, self.preparation)

    async def translate(
        self,
        texts: Sequence[str],
        route: Route,
        options: TranslationOptions,
        split: bool = True,
        finders: Finders | None = None,
    ) -> list[TextTranslation]:
        """Translate plain texts, keeping line breaks and spacing.

        Args:
            texts: Source texts.
            route: Language pairs to translate through.
            options: Search options of the last model; earlier models pass on their best translation.
            split: Whether to split texts into sentences.
            finders: Find what must be kept, and terms; None for those of the pipeline.

        Returns:
            One translation per text, in order.

        Raises:
            ApiError: 503 if the queue rejects the sentences.
        """
        size = sum(map(len, texts))
        parts = await self.preparation.run(
            lambda: [self._prepared(text, route, split, finders) for text in texts], size
        )
        sentences = [with_code(sentence, part.code) for part in parts for sentence in part.segment.sentences]
        results = iter(await self.sentences.translate(sentences, route, options))
        found = [[next(results) for _ in part.segment.pieces] for part in parts]
        hypotheses = options.search.num_hypotheses
        return await self.preparation.run(
            lambda: [_assemble(part, each, hypotheses) for part, each in zip(parts, found, strict=True)], size
        )

    async def translate_markup(
        self,
        text: str,
        route: Route,
        options: TranslationOptions,
        rules: MarkupRules,
        split: bool = True,
        finders: Finders | None = None,
        finish: Finish | None = None,
    ) -> TextTranslation:
        """Translate HTML or XML; inline tags are placed by word alignment. The result has no sentences.

        `finish`, if given, gets each sentence and its translation, and returns the translation to use.

        Raises:
            ApiError: 503 if the queue rejects the sentences.
        """
        code, start = self.sentences.split_code(text, route)
        rules = rules._replace(source=route[0][0], target=route[-1][1])
        markup = await self.preparation.run(lambda: MarkupText(text[start:], rules), len(text))
        sources = [segment.source for segment in markup.segments]
        translated = await self.translate_segments(sources, route, options, split, finders, code, finish=finish)
        written = await self.preparation.run(lambda: markup.write([each.parts for each in translated]), len(text))
        unchanged = [_UNCHANGED.format(sentence) for each in translated for sentence in each.unchanged]
        return TextTranslation(written, [], [], (*(one for each in translated for one in each.problems), *unchanged))

    async def translate_segments(
        self,
        sources: Sequence[Parts],
        route: Route,
        options: TranslationOptions,
        split: bool = True,
        finders: Finders | None = None,
        code: str = "",
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        attempts: int = 1,
        finish: Finish | None = None,
    ) -> list[SegmentTranslation]:
        """Translate segments of a document.

        Args:
            sources: Text and codes of each segment.
            route: Language pairs to translate through.
            options: Search options; each segment has one translation, without constraints on the target text.
            split: Whether to split segments into sentences.
            finders: Find what must be kept, and terms; None for those of the pipeline.
            code: Target-language code that each sentence begins with, such as `>>fr<<`.
            on_progress: Called with the number of translated sentences and of all sentences.
            attempts: How often sentences are queued again if the queue is full or a model fails.
            finish: Gets each sentence and its translation, and returns the translation to use.

        Raises:
            ApiError: 503 if the queue rejects the sentences.
        """
        size = sum(len(part) for source in sources for part in source if isinstance(part, str))
        prepared, keys = await self.preparation.run(
            lambda: self._prepared_segments(sources, route, finders, split), size
        )
        memory: Memory = {}
        for links in (False, True):
            sentences = [sentence for sentence, has_links in keys if has_links is links]
            coded = [with_code(sentence, code) for sentence in sentences]
            chosen = options.for_one_best()._replace(words=False, links=links)
            on_count = partial(_report, on_progress, len(memory), len(keys))
            found = await self.sentences.translate(coded, route, chosen, on_count, attempts)
            for sentence, result in zip(sentences, found, strict=True):
                memory[sentence, links] = _finished(sentence.text, _without_code(result, code), finish)
        return await self.preparation.run(
            lambda: [assemble(each, [memory[key] for key in sentence_keys(each)]) for each in prepared], size
        )

    async def stream(
        self, text: str, route: Route, options: TranslationOptions, on_text: Callable[[str], None]
    ) -> TextTranslation:
        """Translate a text greedily.

        Args:
            text: Source text.
            route: Language pairs to translate through; only the last model streams.
            options: Search options.
            on_text: Called by a model thread with the whole translation so far, after each word.

        Raises:
            ApiError: 503 if the queue rejects a sentence.
        """
        part = await self.preparation.run(lambda: self._prepared(text, route, True), len(text))
        pieces, results = part.segment.pieces, list[SentenceTranslation]()
        for piece, sentence in zip(pieces, part.segment.sentences, strict=True):
            before = join_sentences(pieces[: len(results)], [result.text for result in results]) + piece.space

            def on_sentence(so_far: str, before: str = before) -> None:
                on_text(before + so_far)

            results.append(await self.sentences.stream(with_code(sentence, part.code), route, options, on_sentence))
            on_text(before + results[-1].text)
        return _assemble(part, results, 1)

    async def alternatives(
        self,
        text: str,
        route: Route,
        target_prefix: str,
        count: int,
        options: TranslationOptions,
        finders: Finders | None = None,
    ) -> list[tuple[WordAlternative, AlignedSentence]]:
        """Find words that may follow the beginning of a translation, and the translations that continue them.

        Args:
            text: Source text of one sentence.
            route: Language pairs to translate through; the alternatives are those of the last model.
            target_prefix: The translation up to the word.
            count: Maximum number of words.
            options: Search options for the rest of each translation.
            finders: Find what must be kept, and terms; None for those of the pipeline.

        Returns:
            Each alternative, and the sentence with its positions in `text` and in the translation.

        Raises:
            ApiError: 400 if the text has nothing to translate, 503 if the queue rejects the sentence.
            UserError: If the sentence is too long for the model.
        """
        part = self._prepared(text, route, False, finders)
        sentence = part.segment.sentences[0]
        if not sentence.text:
            raise ApiError(400, "q: give one sentence")
        coded = with_code(sentence, part.code)
        found = await self.sentences.alternatives(coded, route, target_prefix, count, options)
        start = part.start + len(part.segment.pieces[0].space)
        return [(each, _aligned_sentence(part, sentence.text, each.translation, start, 0)) for each in found]

    async def explore(
        self, route: Route, payload: str | SwitchedSentence | ContrastedSentence | PatchedSentences
    ) -> dict[str, Any]:
        """Return the explorer's data for a sentence, or for another payload the part that it asks for.

        Raises:
            ApiError: 400 if the route does not have exactly one model.
        """
        if not route:
            raise ApiError(400, "nothing to explore: source and target are the same language")
        if len(route) > 1:
            raise ApiError(400, "this pair is translated through a third language; explore each step separately")
        [data] = await self.queue.submit(BatchKey(_EXPLORER_TASKS[type(payload)], route[0]), [payload])
        return data

    def _prepared(self, text: str, route: Route, split: bool, finders: Finders | None = None) -> _PreparedText:
        code, start = self.sentences.split_code(text, route)
        return _PreparedText(code, start, prepare((text[start:],), route[0][0], finders or self.finders, split))

    def _prepared_segments(
        self, sources: Sequence[Parts], route: Route, finders: Finders | None, split: bool
    ) -> tuple[list[PreparedSegment], dict[Key, None]]:
        """Prepare segments, and return their distinct sentences too."""
        prepared = []
        for source in sources:
            check_needed()
            prepared.append(prepare(source, route[0][0], finders or self.finders, split))
        return prepared, dict.fromkeys(key for each in prepared for key in sentence_keys(each))


def word_spans(text: str) -> list[CharSpan]:
    """Return the positions of space-separated words, the units of alignment and word scores."""
    return [match.span() for match in _WORD.finditer(text)]


def _report(on_progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    on_progress(before + done, total)


def _without_code(result: SentenceTranslation, code: str) -> TranslatedSentence:
    """Return the translation of a sentence with positions that do not count the code in front of it."""
    by = len(code) + 1 if code else 0
    links = tuple((_moved(source, -by), target) for source, target in result.links if source[0] >= by)
    return TranslatedSentence(result.text, result.kept, links, result.problems, result.score)


def _finished(source: str, result: TranslatedSentence, finish: Finish | None) -> TranslatedSentence:
    """Return a translation with another beginning or end, unless that would change what is kept."""
    text = finish(source, result.text) if finish else result.text
    is_kept = all(result.text[slice(*span)] == text[slice(*span)] for span in result.kept)
    links = tuple((a, (c, min(d, len(text)))) for a, (c, d) in result.links if c < len(text))
    return result._replace(text=text, links=links) if is_kept and text != result.text else result


def _moved(span: Span, by: int) -> Span:
    return span[0] + by, span[1] + by


def _assemble(part: _PreparedText, results: Sequence[SentenceTranslation], hypotheses: int) -> TextTranslation:
    sentences, pieces = [], part.segment.pieces
    source, target = part.start, 0
    for piece, result in zip(pieces, results, strict=True):
        source, target = source + len(piece.space), target + len(piece.space)
        if piece.sentence:
            sentences.append(_aligned_sentence(part, piece.sentence, result, source, target))
        source, target = source + len(piece.sentence), target + len(result.text)
    text = join_sentences(pieces, [result.text for result in results])
    alternatives = (join_sentences(pieces, [_nth_text(r, n) for r in results]) for n in range(1, hypotheses))
    pairs = list(zip(part.segment.sentences, results, strict=True))
    problems = [problem for _, result in pairs for problem in result.problems]
    problems += [_UNCHANGED.format(result.text) for sentence, result in pairs if is_unchanged(sentence, result.text)]
    others = [other for other in dict.fromkeys(alternatives) if other != text]
    return TextTranslation(text, others, sentences, tuple(problems))


def _aligned_sentence(
    part: _PreparedText, sentence: str, result: SentenceTranslation, source: int, target: int
) -> AlignedSentence:
    """Move positions from the sentence, which starts at `source` and `target`, to the whole texts."""
    before = 1 if part.code else 0  # the models see the code as the first source word
    source_words = [(start + source, end + source) for start, end in word_spans(sentence)]
    target_words = [(start + target, end + target) for start, end in word_spans(result.text)]
    links = [
        (source_words[i - before], target_words[j])
        for i, j in result.alignment
        if before <= i < len(source_words) + before and j < len(target_words)
    ]
    return AlignedSentence(
        (source, source + len(sentence)),
        (target, target + len(result.text)),
        result,
        list(zip(target_words, result.word_scores, strict=False)),
        links,
    )


def _nth_text(result: SentenceTranslation, n: int) -> str:
    """Return hypothesis `n`, counted from 0, or the best one if there are fewer."""
    return result.hypotheses[n][0] if n < len(result.hypotheses) else result.text
