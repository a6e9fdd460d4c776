"""Evaluation from Python, and the test sets that are rejected."""

from __future__ import annotations

import errno
import gzip
import os

import pytest

import allyouneed
from allyouneed import Translator, UserError
from allyouneed.translation.evaluation.metrics import corpus_scores
from tests.conftest import toy_pairs, write_pairs


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def test_a_run_or_a_translator_is_evaluated(toy_run, translator, tmp_path):
    pairs = toy_pairs(20, seed=3)
    test, output = write_pairs(tmp_path, "test", pairs), tmp_path / "output"
    options = allyouneed.SearchOptions(beam_size=2)
    scores = allyouneed.evaluate(str(toy_run), [str(path) for path in test], options, output=output, device="cpu")
    assert scores == allyouneed.evaluate(translator, test, options)
    translations = [one.text for one in translator.translate([source for source, _ in pairs], options)]
    assert output.read_text().splitlines() == translations
    assert scores == corpus_scores(translations, [target for _, target in pairs])


def test_an_output_is_replaced_as_a_whole_or_not_at_all(translator, tmp_path, monkeypatch):
    test, output = write_pairs(tmp_path, "test", toy_pairs(3)), tmp_path / "output"
    output.write_text("precious")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write .*output: no space left"):
            allyouneed.evaluate(translator, test, output=output)
    assert output.read_text() == "precious"
    allyouneed.evaluate(translator, test, output=tmp_path / "output.gz")
    assert len(gzip.decompress((tmp_path / "output.gz").read_bytes()).splitlines()) == 3


def test_the_output_is_not_a_test_file(translator, tmp_path):
    test = write_pairs(tmp_path, "test", toy_pairs(3))
    with pytest.raises(UserError, match="same file"):
        allyouneed.evaluate(translator, test, output=test[1])


def test_a_broken_line_is_named(translator, tmp_path):
    table = tmp_path / "test.tsv"
    for content, fault in ((b"a b\tb a\na b\n", "fewer than 2 columns"), (b"a b\tb a\n\xff\tb\n", "not UTF-8")):
        table.write_bytes(content)
        for function in (allyouneed.evaluate, allyouneed.score):
            with pytest.raises(UserError, match=rf"test\.tsv:2: {fault}\. Fix the line, or remove it from both sides"):
                function(translator, [table])
    with pytest.raises(UserError, match="one TSV file"):
        allyouneed.score(translator, [])


def test_one_table_needs_no_list(translator, tmp_path):
    table = tmp_path / "test.tsv"
    table.write_text("a b\tb a\n")
    for function in (allyouneed.evaluate, allyouneed.score):
        assert function(translator, table) == function(translator, str(table)) == function(translator, [table])


def test_evaluation_needs_search_options(translator, tmp_path):
    with pytest.raises(TypeError, match="SearchOptions"):
        allyouneed.evaluate(translator, tmp_path / "test.tsv", {"beam_size": 2})
