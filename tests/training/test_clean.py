"""`allyouneed clean`: the report, the cleaned text, and the least likely pairs of a model."""

import csv

import pytest
from typer.testing import CliRunner

from allyouneed.bundle import load_bundle
from allyouneed.cli import app
from allyouneed.data.corpora import as_corpora, training_text
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


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("directions", [None, ["de-en", "fr-en"]])
def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path, monkeypatch, directions):
    pairs = [
        *toy_pairs(900),
        ("ok " * 10, "not this one"),
        ("", "x"),
        ("schÃ¶n", "b\x9dad"),
        ("a b c d e", "a b c d e"),
    ]
    files = [write_pairs(tmp_path, name, text) for name, text in (("one", pairs), ("two", pairs[100:400]))]
    text = training_text(files, None, (None, None) if directions else ("de", "en"), directions=directions)
    monkeypatch.setattr("allyouneed.training.clean._MANY_PAIRS", 0)
    monkeypatch.setattr("allyouneed.data.blocks._PAIRS", 128)
    found = []
    for processes in (1, 2):
        monkeypatch.setattr("allyouneed.training.clean.usable_cores", lambda count=processes: count)
        shown: list[str] = []
        out = tmp_path / f"out{processes}"
        report = clean(CleaningRequest(text.train, text.languages, out, [CHECKS]), shown.append)
        found.append((report, [line for line in shown[:-1] if "pairs/s" not in line], contents(out)))
    assert found[0] == found[1]
    names = {name for name in found[0][2] if name.startswith("cleaned")}
    assert names == ({"cleaned.de-en.tsv", "cleaned.fr-en.tsv"} if directions else {"cleaned.tsv"})


def test_each_direction_has_its_languages_and_its_text(tmp_path):
    german = [(f"Das ist der {i}. Satz.", f"This is sentence {i}.") for i in range(30)]
    korean = [(f"이것은 {i}번째 문장입니다.", f"This is sentence {i}.") for i in range(30)]
    foreign = ("이것은 한국어 문장입니다.", "This sentence is Korean.")
    files = write_pairs(tmp_path, "de", [*german, foreign, german[3]]), write_pairs(tmp_path, "ko", [*korean, foreign])
    text = training_text(files, None, (None, None), directions="de-en,ko-en")
    clean(
        CleaningRequest(text.train, text.languages, tmp_path / "out", ["data.cleaning=script,duplicates"]),
        lambda line: None,
    )
    cleaned = {name: (tmp_path / "out" / f"cleaned.{name}.tsv").read_text().splitlines() for name in ("de-en", "ko-en")}
    assert cleaned["de-en"] == ["\t".join(pair) for pair in german]
    assert cleaned["ko-en"] == ["\t".join(pair) for pair in [*korean, foreign]]
    assert [(row["check"], row["source"]) for row in rows(tmp_path / "out" / "dropped.tsv")] == [
        ("script", foreign[0]),
        ("duplicates", german[3][0]),
    ]


def test_equal_pairs_of_different_targets_are_no_duplicates(tmp_path):
    files = [
        write_pairs(tmp_path, name, [("OK", "OK"), ("a b", "b a"), ("a b", "b a")]) for name in ("one", "two", "three")
    ]
    text = training_text(files, None, (None, None), directions="de-en,de-fr,de-en")
    out = tmp_path / "out"
    clean(CleaningRequest(text.train, text.languages, out, ["data.cleaning=duplicates"]), lambda line: None)
    assert (out / "cleaned.de-en.tsv").read_text() == (out / "cleaned.de-fr.tsv").read_text() == "OK\tOK\na b\tb a\n"


def test_directions_on_the_command_line(tmp_path, command):
    files = [write_pairs(tmp_path, name, toy_pairs(40)) for name in ("one", "two")]
    texts = [word for pair in files for word in ("--train", *map(str, pair))]
    code, _, _ = command("clean", *texts, "--directions", "de-en,fr-en", "--out", tmp_path / "out", "--set", CHECKS)
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("cleaned*")) == [
        "cleaned.de-en.tsv",
        "cleaned.fr-en.tsv",
    ]
    code, _, error = command("clean", *texts)
    assert code == 2
    assert "the languages are missing" in error
