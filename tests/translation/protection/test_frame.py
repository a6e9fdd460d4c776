"""What is copied at the ends of a sentence: values and labels with their punctuation."""

from __future__ import annotations

import pytest

from allyouneed.translation.protection import find_kept
from allyouneed.translation.protection.frame import frame_of


@pytest.mark.parametrize(
    ("text", "head", "tail"),
    [
        ("running: {x}", "", ": {x}"),
        ("Name:   {x}.", "", ":   {x}."),
        ("{x}: running", "{x}: ", ""),
        ("Hello, {name}!", "", ", {name}!"),
        ("Total = {x}", "", " = {x}"),
        ("Total – {x} %", "", " – {x} %"),
        ("See: https://x.org, {y}.", "", ": https://x.org, {y}."),
        ("{a}: {b} man: {c}: {d}", "{a}: ", ": {c}: {d}"),
        ("({x}): a man: [{y}]", "({x}): ", ": [{y}]"),
        ("{x}, 3 men", "{x}, ", ""),
        ("名前：{x}", "", "：{x}"),
        ('"{x}: a man"', "", ""),
        ("a {x}: b", "", ""),
        ("a {x} b", "", ""),
        ("See https://x.org.", "", ""),
        ("{a}:b", "", ""),
        ("well-known {x}", "", ""),
        ("{a}, {b} and c", "", ""),
        ("a", "", ""),
    ],
)
def test_labels_and_values(text, head, tail):
    frame = frame_of(text, find_kept(text))
    assert (frame.head, frame.tail) == (head, tail)
    assert frame.head + text[frame.start : frame.end] + frame.tail == text


def test_punctuation_that_the_model_adds_is_removed():
    frame = frame_of("Name: {x}", ((6, 9),))
    assert [frame.trimmed(text, 0) for text in ("Name.", "Name!", "Name", "", "N. a. ")] == [
        "Name",
        "Name",
        "Name",
        "",
        "N. a",
    ]
    assert frame.trimmed("a {x.}", 6) == "a {x.}"
    assert frame_of("Name?: {x}", ((7, 10),)).trimmed("Name?", 0) == "Name?"
    assert frame_of("Name {x}.", ((5, 8),)).trimmed("Name.", 0) == "Name."
