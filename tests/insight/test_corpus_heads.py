"""Selection of sentence pairs and data of the corpus page."""

from __future__ import annotations

import json

import pytest

from allyouneed import UserError
from allyouneed.insight.statistics import corpus_heads as corpus
from allyouneed.insight.statistics.corpus_heads import corpus_data
from allyouneed.insight.statistics.heads import MEASURES
from allyouneed.insight.variants.switches import all_heads
from tests.conftest import toy_pairs, write_pairs


def test_every_head_has_a_row_with_all_measures(translator, tmp_path):
    progress = []
    data = corpus_data(
        translator, write_pairs(tmp_path, "test", toy_pairs(8)), on_progress=lambda *now: progress.append(now)
    )
    heads = all_heads(translator.model)
    assert [(row["kind"], row["layer"], row["head"]) for row in data["heads"]] == heads
    assert all(set(MEASURES) < row.keys() for row in data["heads"])
    assert [row["aer"] is not None for row in data["heads"]] == [kind == "cross" for kind, *_ in heads]
    undefined = {"encoder": set(), "decoder": {"next", "end"}, "cross": {"distance", "previous", "next", "same"}}
    for row in data["heads"]:
        assert {name for name in MEASURES if row[name] is None} == undefined[row["kind"]]
    assert progress == [(done, len(heads)) for done in range(1, len(heads) + 1)]
    named = {example["sentence"] for row in data["heads"] for example in row["examples"]}
    assert named == data["examples"].keys()
    json.dumps(data, allow_nan=False)


def test_pairs_that_cannot_be_measured_are_skipped(translator, tmp_path):
    """Alignments refer to lines of the file, including skipped ones."""
    good = toy_pairs(3)
    long = ("a b c d e f g h " * 20, "h g")
    files = write_pairs(tmp_path, "test", [("", "a"), good[0], long, ("a", ""), good[1], good[2]])
    links = tmp_path / "links"
    links.write_text("9-9\n0-0\n9-9\n9-9\n0-0\n0-0\n")
    data = corpus_data(translator, files, links)
    assert (data["sentences"], data["importance_sentences"], data["aligner"]) == (3, 3, "links")
    assert data["heads"] == [
        {**row, "importance": pytest.approx(row["importance"], abs=2e-4)}
        for row in corpus_data(translator, write_pairs(tmp_path, "good", good), write_links(tmp_path, 3))["heads"]
    ]
    links.write_text("0-0\n" * 5)
    with pytest.raises(UserError, match="5 lines for 6 sentence pairs"):
        corpus_data(translator, files, links)


def write_links(folder, count):
    (folder / "few").write_text("0-0\n" * count)
    return folder / "few"


def test_only_the_beginning_of_a_long_corpus_is_measured(translator, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "SENTENCES", 4)
    assert corpus_data(translator, write_pairs(tmp_path, "test", toy_pairs(9)))["sentences"] == 4


def test_corpora_that_cannot_be_measured(translator, tmp_path):
    with pytest.raises(UserError, match="no pair has two non-empty sides"):
        corpus_data(translator, write_pairs(tmp_path, "long", [("a b c d e f g h " * 20, "a")]))
    with pytest.raises(UserError, match="the file is empty"):
        corpus_data(translator, write_pairs(tmp_path, "empty", []))
    table = tmp_path / "test.tsv"
    table.write_text("a b\tb a\na b\n")
    with pytest.raises(UserError, match=r"test\.tsv:2: fewer than 2 columns\. Correct the line\."):
        corpus_data(translator, [table])
