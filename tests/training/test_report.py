"""The report: well-formed, escaped, self-contained, and consistent with the log."""

import errno
import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from allyouneed.errors import UserError
from allyouneed.training.reporting.report import write_report

VOID = {"br", "meta"}


class Page(HTMLParser):
    """A parsed page: its elements as (tag, attributes) and its visible text. Unbalanced tags are an error."""

    def __init__(self, source: str):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def of_class(self, name: str) -> list[dict]:
        return [attributes for _, attributes in self.elements if attributes.get("class") == name]


def train(step: int, **values) -> dict:
    record = {"event": "train", "step": step, "epoch": 0, "loss": 7.5 - step / 1000, "learning_rate": 1e-4 * step}
    return record | {"gradient_norm": 0.8, "tokens_per_second": 6900.0, "seconds": 0.3 * step} | values


def validation(step: int, hypothesis: str = "Ein Hund.", **values) -> dict:
    samples = [{"source": "A dog.", "reference": "Ein Hund rennt.", "hypothesis": hypothesis}]
    record = {"event": "validation", "step": step, "seconds": 0.3 * step, "loss": 3.9, "perplexity": 49.4, "bleu": 12.3}
    return record | {"chrf": 31.0, "best": True, "samples": samples} | values


def write(folder: Path, **parts) -> str:
    defaults = {"title": "de to en", "log": [], "corpus": {}, "settings": {}, "scores": {}, "status": "running"}
    write_report(folder / "report.html", **(defaults | parts))
    return (folder / "report.html").read_text("utf-8")


def places(page: Page, name: str) -> list[tuple[float, float]]:
    """Return all points of the paths with a class."""
    data = " ".join(path["d"] for path in page.of_class(name))
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", data)]


def test_a_full_page_is_balanced_and_needs_no_network(tmp_path):
    log = [{"event": "plan", "steps": 900, "device": "cpu"}, *map(train, range(100, 1000, 100)), validation(500)]
    source = write(tmp_path, log=log, settings={"model": {"d_model": 512}}, scores={"test": {"bleu": 37.1}})
    page = Page(source)
    assert "://" not in source
    assert not re.search(r"@import|url\(", source)
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.elements)
    assert "$" not in source
    assert len(page.of_class("chart")) + len(page.of_class("chart timed")) == 4


def test_headline(tmp_path):
    log = [
        {"event": "plan", "steps": 5000},
        *(train(step, tokens_per_second=6000.0 + step) for step in (100, 200, 9000)),
    ]
    log += [validation(500, bleu=20.0, perplexity=9.0), validation(1000, bleu=18.0, perplexity=11.0)]
    scores = {
        "valid": {"bleu": 37.14, "bleu_signature": "nrefs:1|tok:13a"},
        "other": {"bleu": 36},
        "bundle": "step 500",
    }
    text = Page(write(tmp_path, log=log, scores=scores, status="stopped: disk full")).text
    assert "stopped: disk full" in text
    assert "BLEU, valid 37.1 nrefs:1|tok:13a BLEU, other 36.0 Best BLEU" in text
    assert "Best BLEU 20.0 while training, step 500; last 18.0" in text
    assert "Best perplexity 9.0 validation, step 500; last 11.0" in text
    assert "Steps 9,000 of 5,000 planned" in text
    assert "Training time 45 min" in text
    assert "Speed 6,200 target tokens per second, median" in text


def test_an_empty_log(tmp_path):
    page = Page(write(tmp_path))
    assert "Steps 0" in page.text
    assert page.of_class("chart") == []
    assert 'class="part samples"></div>' in write(tmp_path, log=[{"event": "unheard of"}, {}])


def test_text_of_users_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\"'&amp; $title 개가 달린다 كلب يجري"
    samples = [{"source": evil, "reference": evil, "hypothesis": evil}]
    drops = {"dropped": {evil: {"count": 1, "examples": [{"line": 3, "text": evil}]}}, evil: evil}
    source = write(
        tmp_path,
        title=evil,
        status=evil,
        log=[train(1), {"event": "stop", "step": 1, "why": evil}, validation(1, samples=samples)],
        corpus={evil: drops},
        settings={evil: {evil: evil}},
        scores={evil: {"bleu": 1.0, "bleu_signature": evil}, "bundle": evil},
    )
    page = Page(source)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert page.words.count(evil) >= 10
    assert all(attributes.get("dir") == "auto" for tag, attributes in page.elements if tag == "dd")


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path):
    assert "broken ? text" in write(tmp_path, title="broken \ud800 text")


def test_curves_have_the_points_of_the_log(tmp_path):
    page = Page(write(tmp_path, log=[*map(train, range(10, 510, 10)), validation(250), validation(500, bleu=None)]))
    losses, rates, speeds = page.of_class("line a")[0], *page.of_class("line a")[2:]
    assert [path["d"].count(",") for path in (losses, rates, speeds)] == [50, 50, 50]
    assert [path["d"].count(",") for path in page.of_class("line b")] == [2, 1]  # loss, BLEU
    assert places(page, "line b")[:2] == places(page, "dots b")[:2]
    data = json.loads(page.of_class("chart")[0]["data-series"])
    assert [len(points) for points in data] == [50, 2]
    assert data[0][0] == [10, 3.0, 7.49]


def test_position_of_a_point(tmp_path):
    log = [train(step, tokens_per_second=speed) for step, speed in ((250, 500.0), (500, 1000.0), (1000, 0.0))]
    page = Page(write(tmp_path, log=log))
    speeds = page.of_class("line a")[2]["d"]
    assert speeds == "M25.00,50.00L50.00,0.00L100.00,100.00"


def test_the_bleu_curve_has_its_metric_and_minutes(tmp_path):
    text = Page(write(tmp_path, log=[*map(train, range(100, 1100, 100)), validation(1000)])).text
    assert "Validation BLEU and chrF while training: greedy, sacreBLEU 13a" in text
    assert "200 1 min 400 2 min" in text


def test_non_finite_values_are_gaps(tmp_path):
    broken = {"loss": math.nan, "tokens_per_second": math.inf, "learning_rate": -math.inf}
    log = [train(100), train(200), train(300, **broken), train(400)]
    page = Page(write(tmp_path, log=[*log, validation(400, loss=math.inf, perplexity=math.inf, bleu=math.nan)]))
    assert re.fullmatch(r"M[^ML]+L[^ML]+M[^ML]+", page.of_class("line a")[0]["d"])
    assert "gaps: values that are not finite" in page.text
    for chart in page.of_class("chart"):
        json.loads(chart["data-series"], parse_constant=pytest.fail)
    assert "nan" not in "".join(path["d"] for name in ("line a", "line b", "dots b") for path in page.of_class(name))


def test_repeated_steps_of_a_resumed_run_are_drawn_once(tmp_path):
    log = [train(100), train(200), train(300, loss=50.0), {"event": "stop", "step": 300, "why": "killed"}]
    log += [{"event": "resume", "step": 200}, train(300), train(400)]
    page = Page(write(tmp_path, log=log))
    assert page.of_class("line a")[0]["d"].count(",") == 4
    assert [path["d"] for path in page.of_class("resume")] == ["M50.00,0V100"] * 3
    assert "stopped at step 300 (killed) · resumed at step 200" in page.text


def test_samples_have_their_history(tmp_path):
    log = [
        validation(500, "Hund"),
        validation(1000, "Hund"),
        validation(1500, "Ein Hund"),
        validation(2000, "Ein Hund rennt"),
    ]
    text = Page(write(tmp_path, log=log)).text
    assert "hypothesis Ein Hund rennt earlier versions: 2 step 500 Hund step 1,500 Ein Hund" in text


def test_corpus_scores_and_settings(tmp_path):
    examples = [{"line": 12, "text": "Ein Hund. ||| A dog."}]
    dropped = {"duplicate": {"count": 110, "examples": examples}}
    part = {"files": ["a.de", "a.en"], "pairs": 29000, "kept": 28890, "longest_source": 83, "dropped": dropped}
    text = Page(
        write(
            tmp_path,
            corpus={"train": part, "valid": {"pairs": 1014, "kept": 1014, "dropped": {}}},
            settings={"model": {"norm": "post", "tie_embeddings": True}, "training": {"adam_epsilon": 1e-9}},
            scores={"test": {"bleu": 37.14, "bleu_signature": "BLEU|tok:13a"}, "bundle": "average of 5 checkpoints"},
        )
    ).text
    assert "pairs 29,000 1,014 kept 28,890 1,014 longest source 83 – dropped: duplicate 110 0" in text
    assert "dropped from train: duplicate line 12 Ein Hund. ||| A dog." in text
    assert "test, bleu 37.1 BLEU|tok:13a bundle: average of 5 checkpoints" in text
    assert 'norm "post" tie_embeddings true training adam_epsilon 1e-09' in text


def test_the_page_is_written_atomically(tmp_path, monkeypatch):
    write(tmp_path, title="old")
    write(tmp_path, title="new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(UserError, match=r"report\.html: no space left on device"):
        write(tmp_path, title="newer")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "<h1>new</h1>" in (tmp_path / "report.html").read_text()
