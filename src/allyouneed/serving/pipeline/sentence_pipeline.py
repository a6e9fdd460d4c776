"""Sentences on their way through the request queue: in pieces if they are too long, and along a route of models."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.pipeline.long_sentences import SentencePiece, cut, join
from allyouneed.serving.pipeline.preparation import PreparationThreads
from allyouneed.serving.pipeline.routes import Travelling
from allyouneed.serving.pipeline.word_alternatives import PrefixedSentence, WordAlternative, word_alternatives
from allyouneed.serving.queue.model_worker import (
    BatchKey,
    SentenceTranslation,
    StreamingSentence,
    TranslationOptions,
    translate,
    translate_streaming,
)
from allyouneed.serving.queue.request_queue import RequestQueue
from allyouneed.serving.registry import Route, TranslatorRegistry
from allyouneed.translation.protection import has_letters
from allyouneed.translation.sentence import Sentence

_MAX_QUEUED = 256  # sentences of a request that wait in the queue at a time
_CHARACTERS_PER_TOKEN = 4  # of the longest pieces


@dataclass(frozen=True)
class SentencePipeline:
    """Translates sentences through the request queue.

    Attributes:
        registry: The served translators.
        queue: Queue of the model threads.
        preparation: Threads that read, split and write long texts.
    """

    registry: TranslatorRegistry
    queue: RequestQueue
    preparation: PreparationThreads

    async def translate(
        self,
        sentences: Sequence[Sentence],
        route: Route,
        options: TranslationOptions,
        on_progress: Callable[[int], None] = lambda done: None,
        attempts: int = 1,
    ) -> list[SentenceTranslation]:
        """Translate each distinct sentence once.

        Args:
            sentences: The sentences; an empty one has an empty translation.
            route: Language pairs to translate through.
            options: Search options of the last model; earlier models pass on their best translation.
            on_progress: Called with the number of translated sentences.
            attempts: How often sentences are queued if the queue is full or a model fails.

        Raises:
            ApiError: 503 if the queue rejects the sentences.
        """
        size, longest = sum(len(each.text) for each in sentences), self._longest_piece(route, options)
        pieces = await self.preparation.run(lambda: self._pieces(sentences, route, longest), size)
        distinct = list(dict.fromkeys(piece.sentence for cuts in pieces.values() for piece in cuts))
        results = {Sentence(""): SentenceTranslation("", 0.0, [])}
        most = min(_MAX_QUEUED, self.queue.limits.queue_sentences)
        for start in range(0, len(distinct), most):
            chunk = [each for each in distinct[start : start + most] if each.text]
            results.update(zip(chunk, await self._follow_route(chunk, route, options, attempts), strict=True))
            on_progress(len(sentences) * min(start + most, len(distinct)) // len(distinct))
        joined = {each: join(each, cuts, [results[piece.sentence] for piece in cuts]) for each, cuts in pieces.items()}
        return [joined[sentence] for sentence in sentences]

    async def stream(
        self, sentence: Sentence, route: Route, options: TranslationOptions, on_text: Callable[[str], None]
    ) -> SentenceTranslation:
        """Translate a sentence greedily, and pass on its beginnings.

        A sentence that is long, has parts to keep, or nothing to translate, is passed on as a whole by the caller.

        Args:
            sentence: The sentence.
            route: Language pairs to translate through; only the last model streams.
            options: Search options.
            on_text: Called by a model thread with the translation so far, after each word.
        """
        is_long = len(sentence.text) > self._longest_piece(route, options)
        if is_long or sentence.kept or sentence.terms or not has_letters(sentence.text):
            [result] = await self.translate([sentence], route, options)
            return result
        travelling = Travelling.begin(sentence)
        if len(route) > 1:
            [pivot] = await self._follow_route([sentence], route[:-1], options.for_one_best())
            travelling = travelling.after(pivot, False)
        key = BatchKey(translate_streaming, route[-1], options)
        [result] = await self.queue.submit(key, [StreamingSentence(travelling.next_sentence(True).text, on_text)])
        return travelling.after(result, True).result

    async def alternatives(
        self, sentence: Sentence, route: Route, target_prefix: str, count: int, options: TranslationOptions
    ) -> list[WordAlternative]:
        """Find words that may follow the beginning of a sentence's translation.

        Args:
            sentence: The sentence.
            route: Language pairs to translate through; the alternatives are those of the last model.
            target_prefix: The translation up to the word.
            count: Maximum number of words.
            options: Search options for the rest of each translation.

        Raises:
            ApiError: 503 if the queue rejects the sentence.
            UserError: If the sentence is too long for the model.
        """
        travelling = Travelling.begin(sentence)
        if len(route) > 1:
            [pivot] = await self._follow_route([sentence], route[:-1], options.for_one_best())
            travelling = travelling.after(pivot, False)
        payload = PrefixedSentence(travelling.next_sentence(True), target_prefix, count)
        [found] = await self.queue.submit(BatchKey(word_alternatives, route[-1], options), [payload])
        return [each._replace(translation=travelling.after(each.translation, True).result) for each in found]

    def split_code(self, text: str, route: Route) -> tuple[str, int]:
        """Find a target-language code such as `>>fr<<` at the beginning of a text.

        Returns:
            The code, or "", and the index after it and one following space or line break.
        """
        code, rest = self.registry.translators[route[0]].tokenizer.split_code(text.lstrip())
        return code, len(text) - len(rest) + rest[:1].isspace() if code else 0

    def _longest_piece(self, route: Route, options: TranslationOptions) -> int:
        """Return the number of characters of the longest piece of a sentence that is translated at once."""
        if options.target_prefix or options.force_words:  # which each sentence must have once
            return sys.maxsize
        return _CHARACTERS_PER_TOKEN * min(self.registry.translators[pair].longest_source for pair in route)

    def _pieces(self, sentences: Sequence[Sentence], route: Route, longest: int) -> dict[Sentence, list[SentencePiece]]:
        """Return the pieces of each distinct sentence; each begins with the sentence's target-language code."""
        return {
            each: cut(each, longest, self.split_code(each.text, route)[0] if len(each.text) > longest else "")
            for each in dict.fromkeys(sentences)
        }

    async def _follow_route(
        self, sentences: Sequence[Sentence], route: Route, options: TranslationOptions, attempts: int = 1
    ) -> list[SentenceTranslation]:
        """Translate along the route; only the last model uses the options that concern the target text."""
        travelling = [Travelling.begin(sentence) for sentence in sentences]
        for step, pair in enumerate(route):
            is_last = step == len(route) - 1
            key = BatchKey(translate, pair, options if is_last else options.for_one_best())
            results = await self._submit(key, [each.next_sentence(is_last) for each in travelling], attempts)
            travelling = [each.after(result, is_last) for each, result in zip(travelling, results, strict=True)]
        return [each.result for each in travelling]

    async def _submit(self, key: BatchKey, sentences: Sequence[Sentence], attempts: int) -> list[SentenceTranslation]:
        while True:
            try:
                return await self.queue.submit(key, sentences)
            except ApiError as error:
                attempts -= 1
                if not attempts or error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)
