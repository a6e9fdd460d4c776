"""Long sentences are cut into pieces and joined again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.serving.pipeline.long_sentences import cut, join
from allyouneed.serving.queue.model_worker import SentenceTranslation
from allyouneed.translation.sentence import Sentence, Term


def copied(sentence: Sentence) -> SentenceTranslation:
    """Return the translation of a model that copies."""
    spans = (*sentence.kept, *(term.span for term in sentence.terms))
    return SentenceTranslation(sentence.text, 1.0, [], kept=sentence.kept, links=tuple((span, span) for span in spans))


def test_a_short_sentence_is_one_piece():
    sentence = Sentence("a b c", ((0, 1),))
    [piece] = cut(sentence, 5)
    assert piece.sentence is sentence


def test_a_sentence_is_cut_between_words():
    assert [piece.sentence.text for piece in cut(Sentence("one two three four"), 9)] == ["one two", "three", "four"]


def test_a_word_is_cut_too():
    pieces = cut(Sentence("a" * 1_900_000), 400)
    assert len(pieces) == 4750
    assert {len(piece.sentence.text) for piece in pieces} == {400}


def test_a_kept_part_is_not_cut():
    text = "see " + "x" * 30 + " and y"
    pieces = cut(Sentence(text, ((4, 34),)), 10)
    assert [(piece.sentence.text, piece.sentence.kept) for piece in pieces] == [
        ("see", ()),
        ("x" * 30, ((0, 30),)),
        ("and y", ()),
    ]


def test_every_piece_begins_with_the_language_code():
    text = ">>fr<< " + "ab " * 20
    pieces = cut(Sentence(text.strip()), 20, ">>fr<<")
    assert all(piece.sentence.text.startswith(">>fr<< ab") for piece in pieces)
    assert sum(piece.sentence.text.count("ab") for piece in pieces) == 20


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    text = draw(st.text("ab ,\u0301한", min_size=1, max_size=80)).strip() or "a"
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    is_kept = [draw(st.booleans()) for _ in spans]
    kept = tuple(span for span, one in zip(spans, is_kept, strict=True) if one)
    terms = tuple(Term(span, "t") for span, one in zip(spans, is_kept, strict=True) if not one)
    return Sentence(text, kept, terms)


@given(sentences(), st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_joined_pieces_of_a_copying_model_are_the_sentence(sentence, longest):
    pieces = cut(sentence, longest)
    joined = join(sentence, pieces, [copied(piece.sentence) for piece in pieces])
    assert joined.text == sentence.text
    assert joined.kept == sentence.kept
    spans = sorted([*sentence.kept, *(term.span for term in sentence.terms)])
    assert sorted(joined.links) == [(span, span) for span in spans]
    whole = max((b - a for a, b in spans), default=0)
    assert all(len(piece.sentence.text) <= longest + whole for piece in pieces)
