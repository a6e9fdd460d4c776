"""From a request's text to its translation: sentences out, answers in, over as many models as the way has."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from allyouneed.serving import markup, sentences
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.model_worker import (
    Aloud,
    Answer,
    Kind,
    Options,
    Switched,
    look_inside,
    look_switched,
    translate,
    translate_streaming,
)
from allyouneed.serving.pairs import Pair, Pairs
from allyouneed.serving.request_queue import Service
from allyouneed.serving.sentences import Piece

_WORD = re.compile(r"[^ ]+")
_AT_ONCE = 256  # sentences of one request in the queue, so that a long text leaves room for others
Span = tuple[int, int]


class Sentence(NamedTuple):
    """A sentence in both texts. source, target: (start, end) in characters of the whole texts; words: log probability
    of each target word with its place; links: places of words that belong together."""

    source: Span
    target: Span
    answer: Answer
    words: list[tuple[Span, float]]
    links: list[tuple[Span, Span]]


class Translated(NamedTuple):
    """text; alternatives: the whole text by the second, third ... hypothesis of each sentence."""

    text: str
    alternatives: list[str]
    sentences: list[Sentence]


class Cut(NamedTuple):
    """A text's sentences, from `start` on. code: `>>fr<<` and the like before them, which a multilingual model wants in
    front of every one."""

    code: str
    start: int
    pieces: list[Piece]

    def asked(self) -> list[str]:
        """What the model is to translate; nothing stays nothing."""
        before = f"{self.code} " if self.code else ""
        return [piece.sentence and before + piece.sentence for piece in self.pieces]


@dataclass(frozen=True)
class Desk:
    """pairs: what can be translated; service: who does it."""

    pairs: Pairs
    service: Service

    async def text(self, text: str, way: list[Pair], options: Options, split: bool = True) -> Translated:
        """Plain text. Line breaks and spacing stay. Errors: `ApiError`."""
        [translated] = await self.texts([text], way, options, split)
        return translated

    async def texts(
        self, texts: Sequence[str], way: list[Pair], options: Options, split: bool = True
    ) -> list[Translated]:
        """Several at once, in order, through one queue."""
        cuts = [self._cut(text, way, split) for text in texts]
        answers = iter(await self._answers([text for cut in cuts for text in cut.asked()], way, options))
        return [_assembled(cut, [next(answers) for _ in cut.pieces], options.num_hypotheses) for cut in cuts]

    async def marked(self, text: str, way: list[Pair], options: Options, form: markup.Form) -> str:
        """Text with tags, which stay; what stands in inline tags is found again by word alignment."""
        code, start = self.code(text, way)
        page = await asyncio.to_thread(markup.parse, text[start:], form)
        blocks = [Cut(code, 0, sentences.split(block.text, way[0][0])) for block in page.blocks]
        plain = options.plain()._replace(words=any(block.has_tags for block in page.blocks))
        answers = iter(await self._answers([text for block in blocks for text in block.asked()], way, plain))
        translated = [_assembled(block, [next(answers) for _ in block.pieces], 1) for block in blocks]
        return await asyncio.to_thread(page.rebuild, [(one.text, _homes(one)) for one in translated])

    async def aloud(self, text: str, way: list[Pair], options: Options, say: Callable[[str], None]) -> Translated:
        """As `text`, and `say(the whole text so far)` after each word; the last model of the way is heard."""
        cut = self._cut(text, way, True)
        answers: list[Answer] = []
        for piece, asked in zip(cut.pieces, cut.asked(), strict=True):
            before = sentences.join(cut.pieces[: len(answers)], [answer.text for answer in answers]) + piece.before

            def say_after(so_far: str, before: str = before) -> None:
                say(before + so_far)

            answers.append(await self._one_aloud(asked, way, options, say_after))
            say(before + answers[-1].text)
        return _assembled(cut, answers, 1)

    async def look(self, way: list[Pair], payload: str | Switched) -> dict[str, Any]:
        """The explorer's data of a sentence; of a `Switched` one its variant."""
        if not way:
            raise ApiError(400, "there is nothing to look at: source and target are the same language")
        if len(way) > 1:
            raise ApiError(400, "this pair goes over a third language; look at each step by itself")
        task = look_inside if isinstance(payload, str) else look_switched
        [found] = await self.service.submit(Kind(task, way[0]), [payload])
        return found

    def _cut(self, text: str, way: list[Pair], split: bool) -> Cut:
        code, start = self.code(text, way)
        rest = text[start:]
        return Cut(code, start, sentences.split(rest, way[0][0]) if split else sentences.whole(rest))

    def code(self, text: str, way: list[Pair]) -> tuple[str, int]:
        """The code in front of a text for the first model, and where what is to be translated begins: after it and one
        space or line break."""
        code, rest = self.pairs.translators[way[0]].tokenizer.split_code(text.lstrip())
        return code, len(text) - len(rest) + rest[:1].isspace() if code else 0

    async def _answers(self, texts: Sequence[str], way: list[Pair], options: Options) -> list[Answer]:
        """One for each sentence; nothing for none. Equal sentences go through the model once."""
        found = {"": Answer("", 0.0, [])}
        asked = [text for text in dict.fromkeys(texts) if text]
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            found.update(zip(some, await self._through(some, way, options), strict=True))
        return [found[text] for text in texts]

    async def _through(self, texts: list[str], way: list[Pair], options: Options) -> list[Answer]:
        """The best translation goes on to the next model; the last one has the options that are about the target."""
        answers: list[Answer] = []
        before: list[Answer] = []
        for place, pair in enumerate(way):
            last = place == len(way) - 1
            asked = options if last else options.plain()
            answers = await self.service.submit(Kind(translate, pair, asked), texts)
            if place:
                answers = [
                    answer._replace(links=_composed(first.links, answer.links))
                    for first, answer in zip(before, answers, strict=True)
                ]
            before, texts = answers, [answer.text for answer in answers]
        return answers

    async def _one_aloud(self, text: str, way: list[Pair], options: Options, say: Callable[[str], None]) -> Answer:
        if not text:
            return Answer("", 0.0, [])
        if len(way) > 1:
            [first] = await self._through([text], way[:-1], options.plain())
            text = first.text
        kind = Kind(translate_streaming, way[-1], options)
        [answer] = await self.service.submit(kind, [Aloud(text, say)])
        return answer._replace(links=_composed(first.links, answer.links)) if len(way) > 1 else answer


def words(text: str) -> list[Span]:
    """Places of the words between spaces, which alignments and word scores count."""
    return [match.span() for match in _WORD.finditer(text)]


def _composed(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Links over a third language: source to middle, middle to target."""
    return sorted({(i, k) for i, j in first for middle, k in second if middle == j})


def _assembled(cut: Cut, answers: Sequence[Answer], hypotheses: int) -> Translated:
    found, source, target, pieces = [], cut.start, 0, cut.pieces
    if cut.code:  # a word more in the source, to the models
        answers = [one._replace(links=[(i - 1, j) for i, j in one.links if i]) for one in answers]
    for piece, answer in zip(pieces, answers, strict=True):
        source, target = source + len(piece.before), target + len(piece.before)
        if piece.sentence:
            found.append(_sentence(piece.sentence, answer, source, target))
        source, target = source + len(piece.sentence), target + len(answer.text)
    alternatives = [sentences.join(pieces, [_nth(answer, n) for answer in answers]) for n in range(1, hypotheses)]
    text = sentences.join(pieces, [answer.text for answer in answers])
    return Translated(text, [one for one in dict.fromkeys(alternatives) if one != text], found)


def _sentence(sentence: str, answer: Answer, source: int, target: int) -> Sentence:
    def place(span: Span, start: int) -> Span:
        return span[0] + start, span[1] + start

    of_source, of_target = words(sentence), words(answer.text)
    scored = [(place(span, target), score) for span, score in zip(of_target, answer.words, strict=False)]
    links = [
        (place(of_source[i], source), place(of_target[j], target))
        for i, j in answer.links
        if i < len(of_source) and j < len(of_target)
    ]
    ends = (source, source + len(sentence)), (target, target + len(answer.text))
    return Sentence(*ends, answer, scored, links)


def _nth(answer: Answer, n: int) -> str:
    """A sentence with fewer hypotheses keeps its best."""
    return answer.hypotheses[n][0] if n < len(answer.hypotheses) else answer.text


def _homes(translated: Translated) -> list[tuple[Span, Span]]:
    """Of each target word its place, and the place of the source word it belongs to."""
    linked = {target: source for sentence in translated.sentences for source, target in sentence.links}
    return [
        (span, linked.get(span, sentence.source))
        for sentence in translated.sentences
        for span in (
            (start + sentence.target[0], end + sentence.target[0]) for start, end in words(sentence.answer.text)
        )
    ]
