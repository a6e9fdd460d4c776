import io
import json

import pytest
from rich.console import Console

from allyouneed import UserError
from allyouneed.insight.look import look_at
from tests.conftest import toy_pairs, write_pairs


def look(translator, sentence="", test=(), alignments=None, page=None, as_json=False):
    said = io.StringIO()
    table = look_at(translator, sentence, list(test), alignments, page, Console(file=said, width=200), as_json)
    return table, said.getvalue()


def test_a_table_for_the_terminal(translator):
    table, _ = look(translator, "a b c")
    assert table.count("\nencoder self") == 2
    assert table.count("\nencoder-decoder") == 2
    assert "→" in table


def test_a_page_is_written(translator, tmp_path):
    table, said = look(translator, "a b c", page=tmp_path / "look.html")
    assert table == ""
    assert str(tmp_path / "look.html") in said
    assert "a b c" in (tmp_path / "look.html").read_text(encoding="utf-8")


def test_heads_over_a_corpus_with_and_without_given_links(translator, tmp_path):
    files = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    links = tmp_path / "links"
    links.write_text("0-0\n" * 20)
    for alignments in (None, links):
        _, said = look(translator, test=files, alignments=alignments, page=tmp_path / "heads.html")
        assert said.startswith("20 sentences")
    assert "links" in (tmp_path / "heads.html").read_text(encoding="utf-8")


def test_heads_over_a_corpus_for_programs(translator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    found, _ = look(translator, test=files, as_json=True)
    assert json.loads(found)["sentences"] == 20
    assert not list(tmp_path.glob("*.html"))
    _, said = look(translator, test=files)
    assert said == "20 sentences; written: heads.html\n"
    assert (tmp_path / "heads.html").is_file()


def test_mistakes(translator, tmp_path):
    files = write_pairs(tmp_path, "test", toy_pairs(3))
    with pytest.raises(UserError, match="leave --html out"):
        look(translator, "a", page=tmp_path / "look.html", as_json=True)
    with pytest.raises(UserError, match="one of them"):
        look(translator, " ")
    with pytest.raises(UserError, match="one of them"):
        look(translator, "a", files)
    with pytest.raises(UserError, match="goes with --test"):
        look(translator, "a", alignments=files[0])
    with pytest.raises(UserError, match="cannot write"):
        look(translator, "a", page=tmp_path / "missing" / "look.html")
    before = files[1].read_text()
    with pytest.raises(UserError, match="same file"):
        look(translator, test=files, page=files[1])
    assert files[1].read_text() == before
    empty = write_pairs(tmp_path, "empty", [])
    with pytest.raises(UserError, match="the file is empty"):
        look(translator, test=empty)
