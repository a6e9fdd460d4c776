import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from allyouneed import UserError
from allyouneed.insight.look import LookRequest, look_at
from tests.conftest import toy_pairs, write_pairs


def look(run, sentence="", test=(), alignments=None, page=None, as_json=False, **more):
    output = io.StringIO()
    request = LookRequest(run, sentence, list(test), alignments, page, as_json, **more)
    table = look_at(request, Console(file=output, width=200))
    return table, output.getvalue()


def test_table_for_the_terminal(toy_run):
    table, _ = look(toy_run, "a b c")
    assert table.count("\nencoder self") == 2
    assert table.count("\nencoder-decoder") == 2
    target = table.splitlines()[1]
    decoder = next(line for line in table.splitlines() if line.startswith("decoder self"))
    query, rest = decoder.split(maxsplit=5)[5].split(" (next ")
    inputs = ["<s>", *target.split()]
    assert rest.split(")")[0] == inputs[inputs.index(query) + 1]
    assert rest.split(" → ")[1].split()[0] in inputs


def test_page_is_written(toy_run, tmp_path):
    table, output = look(toy_run, "a b c", page=tmp_path / "look.html")
    assert table == ""
    assert str(tmp_path / "look.html") in output
    assert "a b c" in (tmp_path / "look.html").read_text(encoding="utf-8")


def test_corpus_page_with_and_without_reference_alignments(toy_run, tmp_path):
    files = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    links = tmp_path / "links"
    links.write_text("0-0\n" * 20)
    for alignments in (None, links):
        _, output = look(toy_run, test=files, alignments=alignments, page=tmp_path / "heads.html")
        assert output.endswith("(20 sentence pairs)\n")
    assert "links" in (tmp_path / "heads.html").read_text(encoding="utf-8")
    links.write_text("0-0\n" * 19 + "0-0 0-99\n")
    with pytest.raises(UserError, match=r"links:20: the link 0-99 needs more words than the pair has"):
        look(toy_run, test=files, alignments=links, page=tmp_path / "heads.html")


def test_corpus_data_as_json_and_default_file(toy_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    found, _ = look(toy_run, test=files, as_json=True)
    assert json.loads(found)["sentences"] == 20
    assert not list(tmp_path.glob("*.html"))
    _, output = look(toy_run, test=files)
    assert output == "wrote heads.html (20 sentence pairs)\n"
    named_like_the_page = write_pairs(tmp_path, "text", toy_pairs(3))
    named_like_the_page[0].rename("heads.html")
    with pytest.raises(UserError, match="same file"):
        look(toy_run, test=[Path("heads.html"), named_like_the_page[1]])
    look(toy_run, test=files)
    assert (tmp_path / "heads.html").is_file()


def test_invalid_arguments(toy_run, tmp_path):
    files = write_pairs(tmp_path, "test", toy_pairs(3))
    with pytest.raises(UserError, match="remove --html"):
        look(toy_run, "a", page=tmp_path / "look.html", as_json=True)
    with pytest.raises(UserError, match="look needs a sentence, or --test"):
        look(toy_run, " ")
    with pytest.raises(UserError, match="a sentence with --test needs a page"):
        look(toy_run, "a", files)
    with pytest.raises(UserError, match="--alignments needs --test"):
        look(toy_run, "a", alignments=files[0])
    with pytest.raises(UserError, match="cannot write"):
        look(toy_run, "a", page=tmp_path / "missing" / "look.html")
    before = files[1].read_text()
    with pytest.raises(UserError, match="same file"):
        look(toy_run, test=files, page=files[1])
    assert files[1].read_text() == before
    for name in ("run.json", "report.html", "bundle/model.safetensors"):  # inputs too, of any kind of page
        with pytest.raises(UserError, match="same file"):
            look(toy_run, "a", page=toy_run / name)
    with pytest.raises(UserError, match="--against is empty"):
        look(toy_run, "a", against=" ")
    with pytest.raises(UserError, match="--against translates both sentences"):
        look(toy_run, "a", against="b", translation="a")
    empty = write_pairs(tmp_path, "empty", [])
    with pytest.raises(UserError, match="the file is empty"):
        look(toy_run, test=empty)


def test_two_sentences_and_two_runs(toy_run, tmp_path):
    """The sentences of the toy run, which reverses letters, differ in one letter."""
    table, _ = look(toy_run, "a b c d", against="a e c d")
    assert "activation" in table
    page = tmp_path / "look.html"
    look(toy_run, "a b c d", page=page, against="a e c d")
    assert 'id="patching"' in page.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="same tokens"):
        look(toy_run, "a b c d", page=page, against="a b c d")
    look(toy_run, "a b c d", page=page, other=toy_run)
    assert 'id="comparison"' in page.read_text(encoding="utf-8")
    for wrong in ({"as_json": True}, {"test": [page]}):
        with pytest.raises(UserError, match="--against needs a sentence"):
            look(toy_run, "a b c d", page=page, against="a", **wrong)
    with pytest.raises(UserError, match="--other needs a sentence and --html"):
        look(toy_run, "a b c d", other=toy_run)
