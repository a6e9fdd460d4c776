"""Hostile repetition: files are refused in one line or kept byte for byte, in linear time (more in tests/fuzz)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fuzz.checks import check_document


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.xlf", "<a "),
        ("a.tmx", "<tu><"),
        ("a.po", 'msgid "a\\'),
        ("a.json", '{"a":['),
        ("a.json", '"\\'),
        ("a.csv", '"a""'),
        ("a.tsv", '"\t'),
        ("a.strings", '"a" = '),
        ("a.strings", "/*"),
        ("a.properties", "\\\n"),
        ("a.properties", "a\\ "),
        ("a.srt", "00:00:01,000 --> "),
        ("a.srt", "<i"),
        ("a.vtt", "<c.a"),
    ],
)
def test_hostile_repetition_takes_linear_time(name, unit):
    start = "WEBVTT\n\n00:01.000 --> 00:02.000\n" if name == "a.vtt" else ""
    began = time.process_time()
    check_document(name, (start + unit * 40_000).encode(), Path())
    assert time.process_time() - began < 10
