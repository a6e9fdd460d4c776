"""Translation of documents with a translator: batches of sentences over all segments, and what the user should know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from allyouneed.documents.document import Document, ReadOptions, read_document
from allyouneed.documents.segment_translation import (
    PROTECTION,
    Finders,
    PreparedSegment,
    SegmentTranslation,
    assemble,
    exceeds,
    prepare,
)
from allyouneed.documents.segments import Segment
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.sentence import Sentence, TranslatedSentence
from allyouneed.translation.sentence_translation import translate_sentences
from allyouneed.translation.translator import Translator

_MIN_SENTENCES, _MAX_SENTENCES = 250, 4000  # per block, which is sorted by length; a small first block is done early

Key = tuple[Sentence, bool]  # a sentence, and whether its words are aligned
Memory = dict[Key, TranslatedSentence]


class Remark(NamedTuple):
    """Something about one segment that the user should know.

    Attributes:
        where: Position in the document.
        message: One sentence.
        source: Text of the segment.
        translation: Its translation.
    """

    where: str
    message: str
    source: str
    translation: str


@dataclass(frozen=True)
class DocumentOptions:
    """Options of the translation of a document, besides those of reading it.

    Attributes:
        search: Search options; None for the bundle's.
        finders: Find what must be kept, and terms.
        split: Whether to split segments into sentences.
        retranslate: Whether to translate segments whose existing translation is finished.
    """

    search: SearchOptions | None = None
    finders: Finders = PROTECTION
    split: bool = True
    retranslate: bool = False


@dataclass
class DocumentTranslation:
    """A translated document.

    Attributes:
        data: The document.
        suffix: Suffix of its file if it is not that of the source.
        segments: Number of segments.
        translated: Number of segments that were translated.
        finished: Number of segments that were translated already.
        notes: Notes of the reader.
        problems: What could not be guaranteed.
        unchanged: Sentences whose translation equals the source although they have text to translate.
    """

    data: bytes = b""
    suffix: str | None = None
    segments: int = 0
    translated: int = 0
    finished: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)
    unchanged: list[Remark] = field(default_factory=list)


def translate_document(
    translator: Translator,
    data: bytes,
    reading: ReadOptions,
    options: DocumentOptions | None = None,
    memory: Memory | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DocumentTranslation:
    """Translate a document.

    Args:
        translator: The translator.
        data: The document.
        reading: Options of reading it, with its name.
        options: Options of the translation.
        memory: Translations of sentences that are known already; new ones are added.
        progress: Called with the number of finished segments and of all segments.

    Raises:
        UserError: If the format is not supported, or the document is damaged.
    """
    options = options or DocumentOptions()
    document = read_document(data, reading)
    translations = list(translate_segments(translator, document.segments, reading.source, options, memory, progress))
    return finish_document(document, translations)


def finish_document(document: Document, translations: Sequence[SegmentTranslation | None]) -> DocumentTranslation:
    """Write a document with the translations of its segments, and collect what the user should know.

    Args:
        document: The document.
        translations: The translation of each segment; None for one that is kept.
    """
    parts = [None if each is None else each.parts for each in translations]
    result = DocumentTranslation(document.write(parts), document.suffix, len(parts), notes=list(document.notes))
    for segment, translation in zip(document.segments, translations, strict=True):
        if translation is None:
            result.finished += 1
            continue
        result.translated += 1
        messages = list(translation.problems)
        if problem := exceeds(segment, translation):
            messages.append(problem)
        result.problems += [Remark(segment.where, each, segment.text, translation.text) for each in messages]
        for sentence in translation.unchanged:
            result.unchanged.append(Remark(segment.where, "the translation equals the source", sentence, sentence))
    return result


def translate_segments(
    translator: Translator,
    segments: Sequence[Segment],
    language: str,
    options: DocumentOptions,
    memory: Memory | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[SegmentTranslation | None]:
    """Translate segments in blocks of increasing size; each distinct sentence is translated once.

    Args:
        translator: The translator.
        segments: The segments.
        language: Code of the source language.
        options: Options of the translation.
        memory: Translations of sentences that are known already; new ones are added.
        progress: Called after each block with the number of finished segments and of all segments.

    Yields:
        The translation of each segment, in order; None for a segment that is finished.
    """
    memory = {} if memory is None else memory
    block: list[PreparedSegment | None] = []
    waiting: dict[Key, None] = {}
    count, done = _MIN_SENTENCES, 0
    for segment in segments:
        if segment.is_finished and not options.retranslate:
            block.append(None)
        else:
            prepared = prepare(segment.source, language, options.finders, options.split)
            waiting |= {key: None for key in sentence_keys(prepared) if key[0].text and key not in memory}
            block.append(prepared)
        if len(waiting) >= count:
            _translate(translator, list(waiting), options.search, memory)
            yield from _assembled(block, memory)
            done, count = done + len(block), min(2 * count, _MAX_SENTENCES)
            progress(done, len(segments))
            block, waiting = [], {}
    _translate(translator, list(waiting), options.search, memory)
    yield from _assembled(block, memory)
    progress(len(segments), len(segments))


def sentence_keys(prepared: PreparedSegment) -> list[Key]:
    """Return what is to be translated for a segment."""
    return list(zip(prepared.sentences, prepared.links, strict=True))


def _translate(translator: Translator, waiting: list[Key], search: SearchOptions | None, memory: Memory) -> None:
    for links in (False, True):
        sentences = [sentence for sentence, has_links in waiting if has_links is links]
        if sentences:
            found = translate_sentences(translator, sentences, search, links)
            memory.update(zip(((sentence, links) for sentence in sentences), found, strict=True))


def _assembled(block: Sequence[PreparedSegment | None], memory: Memory) -> Iterator[SegmentTranslation | None]:
    empty = TranslatedSentence("")
    for prepared in block:
        if prepared is None:
            yield None
        else:
            yield assemble(prepared, [memory[key] if key[0].text else empty for key in sentence_keys(prepared)])
