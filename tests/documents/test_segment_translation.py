"""What happens to a segment before and after the model: sentences, spaces, terms, and what is unchanged."""

from __future__ import annotations

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.document_translation import finish_document
from allyouneed.documents.segment_translation import NOTHING_FOUND, PROTECTION, Finders, assemble, prepare
from allyouneed.documents.segments import Code, Parts
from allyouneed.translation.protection import find_kept
from allyouneed.translation.sentence import TranslatedSentence
from allyouneed.translation.terminology.glossary import Entry, Glossary
from tests.documents.office_files import entry, odf
from tests.fuzz.checks import reversed_words


def sentences(*source: str | Code, finders: Finders = PROTECTION) -> list[tuple[str, list[str]]]:
    """The sentences of a segment with their kept parts."""
    prepared = prepare(source, "en", finders)
    return [(each.text, [each.text[slice(*span)] for span in each.kept]) for each in prepared.sentences]


def in_reverse(*source: str | Code) -> Parts:
    prepared = prepare(source, "en", PROTECTION)
    return assemble(prepared, list(map(reversed_words, prepared.sentences))).parts


def test_runs_of_spaces_within_a_sentence_are_kept():
    assert sentences("one   two three\tfour  {x}  {y}") == [
        ("one   two three\tfour  {x}  {y}", ["   ", "\t", "  ", "{x}", "{y}"])
    ]
    assert sentences("One.  Two.") == [("One.", []), ("Two.", [])]
    assert sentences("{{ a  b }}") == [("{{ a  b }}", ["{{ a  b }}"])]


def test_runs_of_spaces_in_opendocument_are_written():
    document = read_document(odf('<text:p>one<text:s text:c="3"/>two</text:p>'), ReadOptions("a.odt", "en", "de"))
    prepared = prepare(document.segments[0].source, "en", PROTECTION)
    [sentence] = prepared.sentences
    assert sentence.kept == ((3, 6),)
    written = document.write([assemble(prepared, [TranslatedSentence("eins   zwei", ((4, 7),))]).parts])
    assert '<text:p>eins <text:s text:c="2"/>zwei</text:p>' in entry(written, "content.xml")


def test_bars_separate_sentences():
    assert sentences("car | cars|x | {n} cars") == [("car", []), ("cars|x", []), ("{n} cars", ["{n}"])]
    assert in_reverse("one two | three four | ") == ("two one | four three | ",)
    assert in_reverse("| a b |") == ("| b a |",)


def test_terms_have_precedence_over_what_is_found_but_not_over_codes():
    glossary = Glossary((Entry("README.md file", "LIESMICH-Datei"), Entry("{x} a", "b"), Entry("Rex dog", "Rexhund")))
    finders = Finders(find_kept, glossary.find)
    [sentence] = prepare(("the README.md file, {x} a",), "en", finders).sentences
    assert [sentence.text[slice(*term.span)] for term in sentence.terms] == ["README.md file"]
    assert [sentence.text[slice(*span)] for span in sentence.kept] == ["{x}"]
    [sentence] = prepare((Code("<x/>", text="Rex"), " dog"), "en", finders).sentences
    assert (sentence.terms, sentence.kept) == ((), ((0, 3),))


def test_unchanged_sentences_within_a_changed_segment_are_listed():
    prepared = prepare(("One dog. 12. Two dogs.",), "en", NOTHING_FOUND)
    found = [TranslatedSentence(text) for text in ("One dog.", "12.", "Zwei Hunde.")]
    translation = assemble(prepared, found[-len(prepared.sentences) :])
    assert translation.unchanged == ("One dog.",)
    document = read_document(b"One dog. 12. Two dogs.\n", ReadOptions("a.txt"))
    result = finish_document(document, [translation])
    assert [(each.where, each.source, each.message) for each in result.unchanged] == [
        ("line 1", "One dog.", "the translation equals the source")
    ]
