"""Kept parts in a translation: the punctuation and the spaces around them are those of the source."""

from __future__ import annotations

import numpy as np
import pytest

from allyouneed.translation.protection import find_kept
from allyouneed.translation.protection.masking import mask, seen_by_model
from allyouneed.translation.protection.placement import place
from allyouneed.translation.protection.stand_ins import StandIn, StandIns
from allyouneed.translation.protection.views import MaskedSentence, Part
from allyouneed.translation.word_alignment import AlignedWords, word_spans

NOUNS = StandIns((StandIn("DOG", frozenset(("hund",))), StandIn("CAT", frozenset(("katze",)))), (StandIn("5"),), 1)


def placed(text: str, target: str, order: list[int] | None = None) -> str:
    """Place the kept parts of a text in a translation whose words are aligned in order, or in a given order."""
    kept = find_kept(text)
    masked = mask(text, kept)
    view = Part(MaskedSentence(text, kept, (), masked, ""), masked.text, 0, "", list(masked.marks)).view(NOUNS, 0)
    source_words, target_words = word_spans(view.text), word_spans(target)
    weights = np.zeros((len(target_words), len(source_words)), dtype=np.float32)
    ones = [i for i, (a, b) in enumerate(source_words) if view.text[a:b].isalnum()]
    others = [j for j, (a, b) in enumerate(target_words) if target[a:b].isalnum()]
    for row, column in enumerate(order or range(min(len(ones), len(others)))):
        weights[others[row], ones[column]] = 1
    return place(target, AlignedWords(source_words, target_words, weights), view.wanted, (), view.text).text


@pytest.mark.parametrize(
    ("text", "target", "order", "expected"),
    [
        ("running: {x}", "läuft Hund", None, "läuft: {x}"),
        ("running: {x}", "läuft : Hund", None, "läuft : {x}"),
        ("running: {x}", "läuft:Hund", None, "läuft: {x}"),
        ("running:{x}", "läuft : Hund", None, "läuft :{x}"),
        ("running: {x}", "Hund läuft", [1, 0], "{x}: läuft"),
        ("running: {x}", "Hund läuft:", [1, 0], "{x} läuft:"),
        ("Total = {x}", "Summe Hund", None, "Summe = {x}"),
        ("Total – {x}", "Summe Hund", None, "Summe – {x}"),
        ("Total - {x}", "Summe Hund", None, "Summe - {x}"),
        ("a well-known {x}", "ein bekannter Hund", None, "ein bekannter {x}"),
        ("Hello, {x}", "Hallo Hund", None, "Hallo, {x}"),
        ("Today, {x} sleeps", "Heute schläft Hund", [0, 2, 1], "Heute schläft {x}"),
        ("running:  {x}", "läuft: Hund", None, "läuft:  {x}"),
        ("running\u00a0{x}", "läuft Hund", None, "läuft\u00a0{x}"),
        ("{x}: {y}", "Hund Katze", None, "{x}: {y}"),
        ("{x}: {y}", "Hund : Katze", None, "{x} : {y}"),
        ("{x}: running", "Hund läuft", None, "{x}: läuft"),
        ("名前：{x}", "Name Hund", None, "Name：{x}"),
        ("\ufeffa running", "ein läuft", None, "\ufeffein läuft"),
        ("a ru\u200bnning dog", "ein läuft Hund", None, "ein\u200b läuft Hund"),
        ("a run\u00adning {x}", "ein läuft Hund", None, "ein läuft {x}"),
    ],
)
def test_punctuation_before_a_part_stays(text, target, order, expected):
    assert placed(text, target, order) == expected


def test_an_empty_element_is_kept():
    assert placed('a <b translate="no"></b> c', "x Hund y") == 'x <b translate="no"></b> y'


def test_white_space_that_is_kept_replaces_that_of_the_translation():
    text = "a   b"
    masked = mask(text, ((1, 4),))
    assert masked.text == "a b"
    view = Part(MaskedSentence(text, ((1, 4),), (), masked, ""), "a b", 0, "", list(masked.marks)).view(NOUNS, 0)
    words = AlignedWords([(0, 1), (2, 3)], [(0, 1), (2, 3)], np.eye(2, dtype=np.float32))
    assert place("x y", words, view.wanted, (), view.text).text == "x   y"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u00a0dog\u2009runs\u2028now", "a dog runs now"),
        ("run\u00adning", "running"),
        ("«\u00a0mot\u00a0» 10\u202f000\u00a0m\u00a0?", "«\u00a0mot\u00a0» 10\u202f000 m\u00a0?"),
        ("漢字\u3000かな", "漢字\u3000かな"),
        ("نمی\u200cخواهم", "نمی\u200cخواهم"),
        ("\u1781\u200b\u1794", "\u1781\u200b\u1794"),  # Khmer, whose words are separated by zero-width spaces
    ],
)
def test_models_see_spaces_between_words(text, seen):
    assert find_kept(text) == ()
    assert seen_by_model(text) == seen
    masked = mask(text, ())
    assert masked.text == seen
    assert [text[i] for i in masked.origins[:-1] if text[i].isalnum()] == [each for each in seen if each.isalnum()]
