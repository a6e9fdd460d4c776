"""Kept parts in a translation: the punctuation and the spaces around them are those of the source."""

from __future__ import annotations

import numpy as np
import pytest

from allyouneed.translation.protection import find_kept
from allyouneed.translation.protection.masking import mask
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
