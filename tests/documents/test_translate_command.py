"""`allyouneed translate`: ensembles, glossaries and what is kept, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from allyouneed.errors import UserError
from allyouneed.translation import Requirements, Translator, read_glossary, split_runs
from tests.conftest import silent, toy_request


@pytest.fixture(scope="module")
def glossary(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("glossary") / "terms.tsv"
    path.write_text("a b\tg g\nc\th\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lines") / "input.aa"
    path.write_text("a b c\nd e\n?\nf {name} c\n\nC a  b\n", encoding="utf-8")
    return path


def test_terms_of_the_glossary_are_in_each_line(command, toy_run, glossary, lines):
    code, out, _ = command("translate", toy_run, lines, "--glossary", glossary)
    assert code == 0
    rows = out.split("\n")
    assert "g g" in rows[0]
    assert "h" in rows[0].replace("g g", "").split()
    assert rows[2] == "?"
    assert rows[3].count("{name}") == 1
    assert "h" in rows[3].split()
    assert rows[4] == ""
    assert "g g" in rows[5]
    assert "H" in rows[5].split() or "h" in rows[5].split()


def test_lines_without_requirements_are_translated_as_before(command, toy_run, glossary, lines):
    _, bare, _ = command("translate", toy_run, lines, "--no-protect")
    _, required, _ = command("translate", toy_run, lines, "--glossary", glossary)
    assert bare.split("\n")[1] == required.split("\n")[1]
    expected = [each.text for each in Translator.load(toy_run).translate(lines.read_text().split("\n"))]
    assert bare.split("\n") == expected


def test_json_and_nbest_have_kept_parts_and_terms(command, toy_run, glossary, lines):
    _, out, _ = command("translate", toy_run, lines, "--glossary", glossary, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[2]["text"] == "?"
    assert rows[4]["hypotheses"] == []
    assert rows[0]["hypotheses"][0]["text"] == rows[0]["text"]
    _, out, _ = command("translate", toy_run, lines, "--glossary", glossary, "--nbest", 2, "--beam-size", 4)
    assert all("{name}" in row for row in out.splitlines() if row.startswith("3 |||"))


def test_documents_have_the_terms(command, toy_run, glossary, tmp_path):
    source = tmp_path / "page.txt"
    source.write_text("a b\n\nc\n")
    code, out, _ = command("translate", toy_run, source, "--glossary", glossary)
    assert code in (0, 1)  # 1: this weak model's attention may be unclear
    assert "g g" in out.split("\n")[0]
    assert "h" in out.split("\n")[2].split()


def test_text_is_kept_on_demand(command, toy_run, tmp_path):
    source = tmp_path / "input.aa"
    source.write_text("a 1,234.50 b Zyx\n")
    _, out, _ = command("translate", toy_run, source, "--keep-numbers", "--keep", "Z..")
    assert out.count("1,234.50") == 1
    assert out.count("Zyx") == 1


def test_the_python_interface(toy_run, glossary):
    required = Requirements(glossary=read_glossary(glossary, "aa", "bb"))
    found = required.translate(Translator.load(toy_run), ["a b {name} c", "12"])
    assert "g g" in found[0].text
    assert "{name}" in found[0].text
    assert required.digest != Requirements().digest


def test_unchanged_lines_are_said(command, toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr(Translator, "translate", lambda self, texts, *_, **__: list(map(Same, texts)))
    source = tmp_path / "input.aa"
    source.write_text("a  b\n12\nc\n%s\n")
    _, out, err = command("translate", toy_run, source)
    assert out == "a  b\n12\nc\n%s\n"
    assert "input.aa: 2 lines are unchanged in the translation; first: line 1" in err
    for option in (("--no-protect",), ("--force", "a")):
        assert (
            "lines are unchanged in the translation; first: line 1" in command("translate", toy_run, source, *option)[2]
        )


def test_forced_words_do_not_remove_protection(command, toy_run, tmp_path):
    source = tmp_path / "input.aa"
    source.write_text("a {x} b\n?\n")
    _, out, err = command("translate", toy_run, source, "--force", "gh")
    first, second = out.splitlines()
    assert first.count("{x}") == first.split().count("gh") == 1
    assert second == "?"
    assert "input.aa:2: There is nothing to translate, so “gh” is missing." in err


class Same:
    """A translation that equals its source."""

    score, pieces, hypotheses, problems = 0.0, 1, (), ()

    def __init__(self, text: str):
        self.source = self.text = text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-protect", "--keep-numbers"], "--no-protect: cannot be combined"),
        (["--keep", "("], "not a regular expression"),
        (["--glossary", "missing.tsv"], "missing.tsv: no such file"),
    ],
)
def test_mistakes_are_named(command, toy_run, lines, arguments, message):
    code, _, err = command("translate", toy_run, lines, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def second(tmp_path_factory, toy_run) -> Path:
    from allyouneed.training.train import train

    folder = tmp_path_factory.mktemp("second")
    train(toy_request(folder / "text", folder / "run", ["training.seed=2"]), silent())
    return folder / "run"


def test_an_ensemble_translates_and_is_evaluated(command, toy_run, second, lines, tmp_path):
    both = Translator.load([toy_run, second]).translate(["a b c", "d e"])
    code, out, _ = command("translate", toy_run, second, lines)
    assert code == 0
    assert out.split("\n")[:2] == [each.text for each in both]
    source, target = tmp_path / "test.aa", tmp_path / "test.bb"
    source.write_text("a b c\nd e\n")
    target.write_text("".join(each.text + "\n" for each in both))
    _, out, _ = command("evaluate", toy_run, second, "--test", source, target)
    assert "exact match 100.0 %" in out


def test_runs_and_files_are_told_apart(toy_run, tmp_path):
    documents, text, unfinished = tmp_path / "documents", tmp_path / "text.aa", tmp_path / "unfinished"
    documents.mkdir()
    (documents / "config.json").write_text("{}")  # a document
    text.write_text("a\n")
    unfinished.mkdir()
    (unfinished / "run.json").write_text("{}")
    bundle, missing = toy_run / "bundle", tmp_path / "missing"
    assert split_runs([toy_run]) == ([toy_run], None)
    assert split_runs([toy_run, text]) == ([toy_run], text)
    assert split_runs([toy_run, bundle, documents]) == ([toy_run, bundle], documents)
    assert split_runs([toy_run, unfinished]) == ([toy_run, unfinished], None)
    assert split_runs([toy_run, missing]) == ([toy_run], missing)
    with pytest.raises(UserError, match="Give all RUNs before the FILE"):
        split_runs([toy_run, text, bundle])
    with pytest.raises(UserError, match="translate takes one FILE"):
        split_runs([toy_run, text, missing])


def test_an_ensemble_resumes_with_the_same_models_only(command, toy_run, second, lines, tmp_path):
    output = tmp_path / "out"
    shutil.copy(lines, tmp_path / "copy.aa")
    command("translate", toy_run, second, lines, "-o", output)
    (tmp_path / "out.resume").write_text(json.dumps({"digest": "x", "lines": 1, "bytes": 1}))
    code, _, err = command("translate", toy_run, lines, "-o", output, "--resume")
    assert code == 2
    assert "another model" in err
