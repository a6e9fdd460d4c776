"""The page of `make bench-quick`, and which trainers it compares."""

import gzip

import pytest

from benchmarks import quick
from benchmarks.measure.quick_page import Comparison, Section, as_html, as_markdown


def test_ratios_are_of_medians_and_above_one_if_ours_is_better():
    faster = Comparison("speed", "a", [300.0, 100.0, 200.0], [100.0, 100.0, 50.0], True, "tokens/s")
    shorter = Comparison("wait", "a", [1.0, 2.0, 3.0], [4.0, 4.0, 9.0], False, "ms")
    assert (faster.ratio, shorter.ratio) == (2.0, 2.0)
    page = as_markdown([Section("Speed", [faster, shorter], ["b is not set up: `b.sh`"])])
    assert "| speed | a | 200 tokens/s (100 to 300) | 100 tokens/s (50 to 100) | 2.00 × |" in page
    assert page.endswith("\n- b is not set up: `b.sh`")


def test_the_html_page_stands_alone_and_is_escaped():
    row = Comparison("speed <b>", "a&b", [1.0], [2.0], True, "s")
    page = as_html("Title", "machine", [Section("<i>", [row], ["missing & gone"])])
    assert all(part in page for part in ("speed &lt;b&gt;", "a&amp;b", "missing &amp; gone"))
    assert 'class="worse" style="width:12.5%"' in page
    assert not any(part in page for part in ("<script", "http:", "https:", "src="))


def test_only_trainers_that_are_set_up_are_compared(tmp_path):
    for folder in ("fairseq/venv", "fairseq/bin", "marian/venv"):  # marian without data
        (tmp_path / folder).mkdir(parents=True)
    ready = quick.ready_trainers(tmp_path, tmp_path)
    assert ready.names == ["fairseq", "plain"]
    assert [reason.split()[0] for reason in ready.skipped] == ["joeynmt", "marian", "eole"]
    assert "benchmarks/peers/marian.sh setup" in ready.skipped[1]
    without_data = quick.ready_trainers(None, tmp_path)
    assert without_data.names == ["plain"]
    assert without_data.skipped[0].startswith("fairseq needs DATA")


@pytest.mark.parametrize("name", ["train", "val"])
def test_synthetic_text_has_pairs_in_multi30ks_files(tmp_path, monkeypatch, name):
    monkeypatch.setattr(quick, "LENGTHS", {"train": 30, "val": 5, "test_2016_flickr": 5})
    folder = quick.write_text(tmp_path)
    lines = quick.first_lines(folder / f"{name}.lc.norm.tok.en.gz", 1000)
    with gzip.open(folder / f"{name}.lc.norm.tok.de.gz", "rt") as file:
        assert len(file.readlines()) == len(lines) == quick.LENGTHS[name]
    assert all(lines)


def test_measures_alternate():
    turns = []
    results = quick.alternate(2, lambda: turns.append("a") or 1, lambda: turns.append("b") or 2)
    assert (turns, results) == (["a", "b", "a", "b"], [[1, 1], [2, 2]])


@pytest.mark.parametrize("arguments", [["nowhere"], ["--run", "nowhere"]])
def test_missing_files_are_reported_before_anything_is_measured(monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.argv", ["quick.py", *arguments])
    with pytest.raises(SystemExit):
        quick._arguments()
    [message] = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "nowhere" in message
    assert "no such" in message
