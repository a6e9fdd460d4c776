"""What readers and writers promise for any file. Each check returns what happened, or raises."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs, reading_notes
from allyouneed.documents.document import Document, ReadOptions, read_document
from allyouneed.documents.formats.markup.markup_document import MarkupText
from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.documents.segment_translation import PROTECTION, assemble, prepare
from allyouneed.documents.segments import Code, Parts
from allyouneed.errors import UserError
from allyouneed.translation.protection import KeepOptions, find_parts
from allyouneed.translation.protection.masking import mask
from allyouneed.translation.protection.placement import place
from allyouneed.translation.protection.stand_ins import StandIn, StandIns
from allyouneed.translation.protection.views import MaskedSentence, Part
from allyouneed.translation.sentence import Sentence, Span, TranslatedSentence
from allyouneed.translation.terminology.glossary_files import read_glossary
from allyouneed.translation.word_alignment import AlignedWords, word_spans

READ, REFUSED = "read", "refused"
_WORD = re.compile(r"\S+")
_LONGEST_SENTENCE = 2_000  # characters; alignments take quadratic memory
_TARGETS = ("de", "ru", "ko", "ar")
_NOUNS = StandIns(tuple(map(StandIn, ("dog", "cat", "man"))), tuple(map(StandIn, ("5", "7"))), 1)


def check_document(name: str, data: bytes, folder: Path) -> str:
    """Check that a document is refused or kept, and that a translation of it can be written and read again."""
    variant = zlib.crc32(data)  # the same options whenever a file is checked
    options = ReadOptions(name, "en", _TARGETS[variant % 4], paragraphs=variant % 3 == 0)
    try:
        document = read_document(data, options)
    except UserError as error:
        return _refused(error)
    written = [document.write([segment.source for segment in document.segments])]
    written += [document.write([None] * len(document.segments))]
    if document.suffix is None:
        assert written == [data, data], "identity translation changes the document"
    for translations in ([("", *segment.source) for segment in document.segments], _translated(document)):
        try:
            new = document.write(translations)
        except UserError as error:
            if "lacks" not in str(error):  # a character that the encoding lacks
                raise ValueError("the translation is not written") from error
            continue
        if document.suffix is None:
            again = read_document(new, options)
            assert len(again.segments) >= bool(document.segments), "no text is left in the translation"
    return READ


def _translated(document: Document) -> list[Parts]:
    """Translate a document by reversing the order of words; every code and kept part must be there once."""
    found = []
    for segment in document.segments:
        prepared = prepare(segment.source, "en", PROTECTION)
        translation = assemble(prepared, list(map(reversed_words, prepared.sentences)))
        assert _codes(translation.parts) == _codes(segment.source), f"codes of {segment.where}"
        found.append(translation.parts)
    return found


def _codes(parts: Parts) -> Counter[Code]:
    return Counter(part for part in parts if isinstance(part, Code))


def reversed_words(sentence: Sentence) -> TranslatedSentence:
    """Return a sentence with its words and kept parts in reverse order, as a translation of it."""
    pieces: list[tuple[Span, int]] = []  # position, and the index of the kept part
    position = 0
    for index, (start, end) in enumerate([*sentence.kept, (len(sentence.text),) * 2]):
        pieces += [(match.span(), -1) for match in _WORD.finditer(sentence.text, position, start)]
        pieces += [((start, end), index)] if index < len(sentence.kept) else []
        position = end
    text, kept, links = "", [(0, 0)] * len(sentence.kept), []
    for (start, end), index in reversed(pieces):
        text += " " * bool(text)
        span = len(text), len(text) + end - start
        text += sentence.text[start:end]
        links += [((start, end), span)] if index < 0 else []
        if index >= 0:
            kept[index] = span
    return TranslatedSentence(text, tuple(kept), tuple(links))


def check_training(name: str, data: bytes, folder: Path) -> str:
    """Check that a corpus is refused or gives the same pairs in each pass, as many as are counted."""
    paths = []
    names = name.split("+")  # two parallel files: halves of the lines
    lines = data.splitlines(keepends=True)
    size = -(-len(lines) // len(names)) or 1
    for index, each in enumerate(names):
        paths.append(folder / each)
        paths[-1].write_bytes(b"".join(lines[index * size : (index + 1) * size]))
    for code in ("de", "en"):  # what an alignment refers to
        (folder / "xml" / code).mkdir(parents=True, exist_ok=True)
        sentences = "".join(f'<s id="{i}"><w>{code}</w> <w>{i}</w></s>' for i in range(1, 4))
        (folder / "xml" / code / "1.xml").write_text(f"<text>{sentences}</text>")
    try:
        columns = columns_for(paths, (1, 2), ("de", "en"))
        notes = reading_notes(paths, columns)
        count = count_pairs(paths, columns)
        pairs = [tuple(pair) for pair in read_pairs(paths, columns)]
    except UserError as error:
        return _refused(error)
    assert not any("\n" in note for note in notes)
    assert count == len(pairs), "another number of pairs is counted"
    assert [tuple(pair) for pair in read_pairs(paths, columns)] == pairs, "other pairs in the second pass"
    assert not any("\n" in text or "\0" in text for pair in pairs for text in (pair[1], pair[2]))
    return READ


def check_glossary(name: str, data: bytes, folder: Path) -> str:
    """Check that a glossary is refused, or that its terms are found without overlap, also beside kept parts."""
    path = folder / name
    path.write_bytes(data)
    try:
        glossary = read_glossary(path, "en", "de")
    except UserError as error:
        return _refused(error)
    assert all(entry.source.strip() and entry.target.strip() for entry in glossary.entries)
    for entry in glossary.entries[:20]:
        text = f"A {entry.source}, the {entry.source}s and {{x}}{entry.source}."
        kept = ((text.index("{x}"), text.index("{x}") + 3),)
        terms = glossary.find(text, kept)
        assert all(a.span[1] <= b.span[0] for a, b in pairwise(terms))
        assert all(a >= kept[0][1] or b <= kept[0][0] or "{x}" in target for (a, b), target in terms)
    return READ


def check_protection(name: str, data: bytes, folder: Path) -> str:
    """Check that kept parts of any text are in order, and come through a translation that reverses it."""
    text = data.decode("utf-8", "replace")
    for options in (KeepOptions(), KeepOptions(numbers=True, patterns=(re.compile(r"\b[A-Z]\w+"),))):
        parts = find_parts(text, options)
        assert all(0 <= part.start < part.end <= len(text) for part in parts)
        assert all(a.end <= b.start for a, b in pairwise(parts))
        if len(text) <= _LONGEST_SENTENCE:
            _check_placement(text, tuple((part.start, part.end) for part in parts))
    return READ


def _check_placement(text: str, kept: tuple[Span, ...]) -> None:
    masked = mask(text, kept)
    sentence = MaskedSentence(text, kept, (), masked, "")
    view = Part(sentence, masked.text, 0, "", list(masked.marks)).view(_NOUNS, 0)
    found = _WORD.findall(view.text)
    target = " ".join(reversed(found))
    source_words, target_words = word_spans(view.text), word_spans(target)
    weights = np.eye(len(target_words), len(source_words), dtype=np.float32)[::-1]
    placed = place(target, AlignedWords(source_words, target_words, weights), view.wanted)
    shown = [placed.text[slice(*span)] for span in placed.spans]
    assert shown == [wanted.text for wanted in view.wanted], "a kept part is lost or changed"
    assert sorted(index for slot in view.kept for index, _ in slot) == list(range(len(kept)))


def check_markup(name: str, data: bytes, folder: Path) -> str:
    """Check that markup of a request is kept, and that its translation has all codes."""
    text = data.decode("utf-8", "replace")
    rules = MarkupRules(is_xml=name.endswith(".xml"), ignored=frozenset(("em",)), splitting=frozenset(("b",)))
    markup = MarkupText(text, rules)
    assert markup.write([segment.source for segment in markup.segments]) == text
    assert markup.write([None] * len(markup.segments)) == text
    MarkupText(markup.write(_translated(markup)), rules)
    return READ


def _refused(error: UserError) -> str:
    assert "\n" not in str(error), f"the message has several lines: {error}"
    return REFUSED
