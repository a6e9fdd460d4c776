"""Ablations: the set of the package, the reader of foreign files, and the command's option."""

from __future__ import annotations

import json
import os
import re
from importlib.resources import files

import pytest

from allyouneed.errors import UserError
from allyouneed.insight.look import LookRequest, look_at
from allyouneed.insight.page import html
from allyouneed.insight.twins import FILE, MAX_BYTES, load_twins
from tests.conftest import silent

KINDS = ("encoder", "decoder", "cross")


@pytest.fixture
def shipped():
    return json.loads(files("allyouneed.insight").joinpath(FILE).read_text("utf-8"))


def written(folder, content) -> None:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / FILE).write_text(text, encoding="utf-8", errors="surrogatepass")


def test_the_shipped_set_is_complete_and_small(shipped):
    """It has a pair for every switch and for the number of heads, and scales of at least two d_k."""
    assert files("allyouneed.insight").joinpath(FILE).stat().st_size < 130_000
    found = load_twins()
    assert found.keys() == shipped.keys()
    runs = found["runs"].values()
    paper = {"scale": "root", "future_mask": True, "padding_mask": True, "positions": True}
    for name in ("future_mask", "padding_mask", "positions"):
        assert any(run["changes"] == {**paper, name: False} for run in runs), name
    assert len({run["d_k"] for run in runs if run["changes"]["scale"] == "none"}) >= 2
    assert {1, 8} <= {run["heads"] for run in runs if run["changes"] == paper}
    for name, run in found["runs"].items():
        assert run["steps"][0] == 0, name
        assert run["steps"][-1] == found["steps"], name
        assert len(run["steps"]) >= 12, name
        assert run["d_k"] * run["heads"] == found["model"]["d_model"], name
    assert html({"text": "", "translation": "", "twins": found}).isascii()


def test_the_shipped_set_shows_what_the_texts_say(shipped):
    """The texts of the view state numbers of the set; these statements are not numbers."""
    runs = shipped["runs"]
    base, future = runs["paper"], runs["future"]
    assert future["accuracy"][-1] > 0.9 > base["accuracy"][-1]
    assert future["final"]["loss"] < 0.5 * base["final"]["loss"]
    assert future["final"]["bleu"] < 1 < base["final"]["bleu"]
    assert future["final"]["masked"] > base["final"]["loss"]


def test_a_folder_replaces_the_set(shipped, tmp_path):
    shipped["machine"] = "mine"
    shipped["runs"] = {"paper": shipped["runs"]["paper"]}
    written(tmp_path, shipped)
    found = load_twins(tmp_path)
    assert found["machine"] == "mine"
    assert list(found["runs"]) == ["paper"]


def test_hostile_texts_do_not_reach_the_page_as_html(shipped, tmp_path):
    shipped["sentences"][0][0] = "</script><script>alert(1)</script>"
    shipped["machine"] = "<img src=x onerror=alert(1)>"
    written(tmp_path, shipped)
    page = html({"text": "", "translation": "", "twins": load_twins(tmp_path)})
    assert "<img" not in page
    assert "alert(1)</script>" not in page


def changed(shipped, path, value):
    content = json.loads(json.dumps(shipped))
    *parents, last = path
    place = content
    for name in parents:
        place = place[name]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("format",), 2, "format"),
        (("surprise",), {"a": 1}, "surprise"),
        (("runs",), {}, "runs"),
        (("runs", "paper", "changes", "scale"), "√d_k", "changes.scale"),
        (("runs", "paper", "gradient", 0), "1", "gradient.0"),
        (("runs", "paper", "gradient", 0), -1.0, "gradient.0"),
        (("runs", "paper", "accuracy", 0), 1.5, "accuracy.0"),
        (("runs", "paper", "accuracy"), [0.5], "different lengths"),
        (("runs", "paper", "steps", 1), 0, "ascending"),
        (("runs", "paper", "entropy", "encoder", 0, 0), [1.0], "number of heads"),
        (("runs", "paper", "heads"), 3, "number of heads"),
        (("runs", "paper", "translations", 0), ["one"], "one translation per sentence"),
        (("runs", "paper", "title"), "x" * 300, "title"),
        (("uniform", "cross"), None, "uniform.cross"),
    ],
)
def test_other_content_is_refused(shipped, tmp_path, path, value, problem):
    written(tmp_path, changed(shipped, path, value))
    with pytest.raises(UserError) as refused:
        load_twins(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / FILE))
    assert problem in str(refused.value)
    assert "paper questions" in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\ud800", '{"format": 1}', "[" * 100_000])
def test_files_of_other_kinds_are_refused(tmp_path, text):
    written(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(FILE)):
        load_twins(tmp_path)


def test_numbers_that_json_does_not_have_are_refused(shipped, tmp_path):
    written(tmp_path, changed(shipped, ("runs", "paper", "gradient", 0), float("nan")))
    with pytest.raises(UserError, match=r"gradient\.0"):
        load_twins(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_are_refused(make, tmp_path):
    make(tmp_path / FILE)
    with pytest.raises(UserError, match="not a regular file"):
        load_twins(tmp_path)


def test_missing_and_large_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="missing or not readable"):
        load_twins(tmp_path)
    written(tmp_path, " " * (MAX_BYTES + 1))
    with pytest.raises(UserError, match="at most 1,000,000 are read"):
        load_twins(tmp_path)


def test_the_option_needs_a_page_and_names_a_wrong_folder(toy_run, tmp_path):
    with pytest.raises(UserError, match="add --html"):
        look_at(LookRequest(toy_run, "a b", twins=tmp_path), silent())
    with pytest.raises(UserError, match=re.escape(str(tmp_path / FILE))):
        look_at(LookRequest(toy_run, "a b", page=tmp_path / "look.html", twins=tmp_path), silent())
