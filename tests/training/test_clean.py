"""`allyouneed clean`: the report, the cleaned text, and the least likely pairs of a model."""

import csv

import pytest
from typer.testing import CliRunner

from allyouneed.bundle import load_bundle
from allyouneed.cli import app
from allyouneed.data.corpora import as_corpora
from allyouneed.errors import UserError
from allyouneed.terminal import expand_options
from allyouneed.training.clean import CleaningRequest, clean
from tests.conftest import toy_pairs, write_pairs

CHECKS = "data.cleaning=encoding,control,copies,repetition,duplicates,near_duplicates"


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def run(folder, pairs, out, *corpora, **options):
    files = [write_pairs(folder, f"text{number}", each) for number, each in enumerate((pairs, *corpora))]
    lines = []
    request = CleaningRequest(as_corpora(files), ("x-toy", "x-yot"), out, [CHECKS], **options)
    return clean(request, lines.append), "\n".join(lines)


def test_the_cleaned_text_the_lists_and_the_report(tmp_path):
    pairs = list(dict.fromkeys(toy_pairs(60)))
    bad = [("ok ok ok ok ok ok ok ok ok ok", "not this one"), ("", "x"), pairs[0], ("schÃ¶n", "b\x9dad")]
    report, shown = run(tmp_path, [*pairs, *bad], tmp_path / "out", [("more", "text"), pairs[1]])
    kept = [tuple(line.split("\t")) for line in (tmp_path / "out" / "cleaned.tsv").read_text().splitlines()]
    assert kept == [*pairs, ("schön", "bad"), ("more", "text")]
    assert (report.pairs, report.kept) == (len(pairs) + 6, len(kept))
    dropped = {
        (row["file"].rsplit("/")[-1], row["line"]): row["check"] for row in rows(tmp_path / "out" / "dropped.tsv")
    }
    first = len(pairs) + 1
    assert dropped == {
        ("text0.src", str(first)): "repetition",
        ("text0.src", str(first + 1)): "empty",
        ("text0.src", str(first + 2)): "duplicates",
        ("text1.src", "2"): "duplicates",
    }
    assert [row["checks"] for row in rows(tmp_path / "out" / "repaired.tsv")] == ["encoding,control"]
    assert "dropped 1: repeated words" in shown
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure") == 3
    assert "dropped from train in all: duplicate of a pair in an earlier corpus" in page
    with pytest.raises(UserError, match="already exists"):
        run(tmp_path, pairs, tmp_path / "out")


def test_without_out_nothing_is_written(tmp_path):
    _, shown = run(tmp_path, [*toy_pairs(60), ("a b", "")], None)
    assert "dropped 1: empty side" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text0.src", "text0.tgt"]


def test_a_model_drops_the_least_likely_pairs(tmp_path, toy_run):
    languages = load_bundle(toy_run).languages
    pairs = list(dict.fromkeys(toy_pairs(300, seed=9)))[:95]
    wrong = [(source, "h g f e d c b a") for source, _ in pairs[:5]]
    file = tmp_path / "text.tsv"
    file.write_text("".join(f"{source}\t{target}\n" for source, target in [*wrong, *pairs]))
    request = CleaningRequest(as_corpora([file]), languages, tmp_path / "out", ["data.cleaning=duplicates"], toy_run)
    report = clean(request, lambda line: None)
    dropped = rows(tmp_path / "out" / "dropped.tsv")
    assert len(dropped) == 5
    assert {row["check"] for row in dropped} == {"model"}
    assert sum(int(row["line"]) <= 5 for row in dropped) >= 2  # by chance, a quarter of one
    assert report.kept == len((tmp_path / "out" / "cleaned.tsv").read_text().splitlines()) == 95
    scores = report.histograms["log probability per token"]
    assert (sum(scores["kept"]), sum(scores["dropped"])) == (95, 5)
    assert not (tmp_path / "out" / "scored.tsv").exists()


def test_models_of_another_direction_are_refused(tmp_path, toy_run):
    with pytest.raises(UserError, match=r"translates .* but x-toy → x-yot is needed"):
        run(tmp_path, toy_pairs(30), None, model=toy_run)
    with pytest.raises(UserError, match="--backward-model needs --model"):
        run(tmp_path, toy_pairs(30), None, backward_model=toy_run)


def test_the_command(tmp_path):
    files = write_pairs(tmp_path, "text", [*toy_pairs(60), ("a b c", "a b c")])
    arguments = [
        "clean",
        "--from",
        "x-toy",
        "--to",
        "x-yot",
        "--train",
        *map(str, files),
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, expand_options([*arguments, "--set", CHECKS]))
    assert result.exit_code == 0, result.output
    assert "cleaned text: " in result.output
    assert (tmp_path / "out" / "cleaned.tsv").is_file()
