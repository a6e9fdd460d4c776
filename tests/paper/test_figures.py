"""The command `allyouneed paper figures` on a small run."""

import csv
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from allyouneed.bundle import load_bundle, save_bundle
from allyouneed.errors import UserError
from allyouneed.paper.figures import attention_figures as figures
from allyouneed.paper.figures.attention_figures import run_figures

from ..conftest import silent, toy_pairs, write_pairs


@pytest.fixture
def text(tmp_path: Path) -> list[Path]:
    return write_pairs(tmp_path, "test", toy_pairs(30, seed=3))


def test_figures_tables_and_page(toy_run: Path, text: list[Path], tmp_path: Path):
    page = run_figures(toy_run, text, tmp_path / "out", 1, silent())
    names = {path.name for path in page.parent.iterdir()}
    for figure in ("figure1", "figure2", "figure3", "figure5"):
        assert {f"{figure}.png", f"{figure}.svg"} <= names
        assert f"![{figure[:6]}" in page.read_text()
    assert "figure4.png" not in names
    assert "no list of pronouns for this source language" in page.read_text()
    with open(page.parent / "heads.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], row["head"]) for row in rows] == [("1", "1"), ("1", "2")]
    assert "Layer 1 of 1" in page.read_text()
    assert ">Multi-Head Attention</text>" in (page.parent / "figure1.svg").read_text()  # text is kept as text


def test_pronouns_are_drawn_for_a_language_with_a_list(toy_run: Path, tmp_path: Path):
    bundle = load_bundle(toy_run)
    bundle.languages = ("en", "bb")
    save_bundle(bundle, tmp_path / "bundle")
    text = tmp_path / "test.tsv"
    text.write_text("b c he\tx\ng d he\tx\n")
    page = run_figures(tmp_path / "bundle", [text], tmp_path / "out", 1, silent())
    assert (page.parent / "figure4.svg").exists()
    assert "lines from the pronoun “he” only, of heads" in page.read_text()
    assert "over 2 pronouns" in page.read_text()


def test_an_interrupted_command_resumes(toy_run: Path, text: list[Path], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(figures, "_PART", 10)
    measured = []
    real = figures.measure

    def stop_at_the_third(model, sentences, lexicon, first):
        measured.append(first)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return real(model, sentences, lexicon, first)

    monkeypatch.setattr(figures, "measure", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_figures(toy_run, text, tmp_path / "out", 1, silent())
    page = run_figures(toy_run, text, tmp_path / "out", 1, silent())
    assert measured == [0, 10, 20, 20]
    assert "30 of 30 lines" in page.read_text()


def test_without_time_one_part_is_measured(toy_run: Path, text: list[Path], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(figures, "_PART", 10)
    page = run_figures(toy_run, text, tmp_path / "out", 0.01, silent())
    assert "The time was sufficient for 10 of these 30" in page.read_text()


def test_text_without_suitable_sentences_is_refused(toy_run: Path, tmp_path: Path):
    empty = tmp_path / "empty.tsv"
    empty.write_text("a\tb\n")
    with pytest.raises(UserError, match="no sentence of at least 2 words"):
        run_figures(toy_run, [empty], tmp_path / "out", 1, silent())


def test_text_that_is_not_parallel_is_refused(toy_run: Path, text: list[Path], tmp_path: Path):
    text[1].write_text("one line\n")
    with pytest.raises(UserError, match="not parallel"):
        run_figures(toy_run, text, tmp_path / "out", 1, silent())
