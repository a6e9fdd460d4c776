"""Results page of the serving benchmark, from simulated loads; the measurement itself needs wrk and minutes."""

import os
import sys

import pytest

from benchmarks import serving
from benchmarks.measure.servers import RunningServer
from benchmarks.serving import OFFLINE, SERVE, Load, Start


def test_the_page_has_every_round_and_the_medians(tmp_path, monkeypatch):
    sentences, out = tmp_path / "sentences", tmp_path / "new" / "folder"
    sentences.write_text("a b\n\nc d\n")
    rates = iter([Load(100.0, 3.0), Load(90.0, 3.25), Load(110.0, 3.0)])
    loads = iter([Load(80.0, 4.0, 10, 20, 40, 0), Load(60.0, 4.5, 20, 25, 30, 2), Load(70.0, 4, 10, 12, 15, 0)])

    def programs(args, sentences, folder):
        assert sentences == ["a b", "c d"]
        return {OFFLINE: lambda: next(rates), SERVE: lambda: next(loads)}

    monkeypatch.setattr(serving, "_programs", programs)
    monkeypatch.setattr(serving, "_starts", lambda run, sentence: [Start("`serve`, first answer", 6.25, 3.0)])
    monkeypatch.setattr(serving.shutil, "which", lambda name: name)
    monkeypatch.setattr("sys.argv", ["serving.py", str(tmp_path / "run"), str(sentences), "--out", str(out)])
    serving.main()
    [page] = out.iterdir()
    text = page.read_text(encoding="utf-8")
    assert "| allyouneed serve | 2 | 60 | 4.50 | 20 | 25 | 30 | 2 |" in text
    assert "| allyouneed translate | 3 | 110 | 3.00 | | | | |" in text
    assert "allyouneed serve: 70 % of the offline command's sentences per second; p99 is at most 4.0 times" in text
    assert "| `serve`, first answer | 6.2 | 3.0 |" in text
    assert str(tmp_path) not in text


def test_requests_go_to_all_models_in_turn():
    bodies = serving._bodies(["a", "b", "c"], ["de", "fr"], "en")
    assert [b'"source": "de"' in body for body in bodies] == [True, False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_processor_time_of_a_server_is_measured():
    server = RunningServer(0, os.getpid())
    before = server.cpu_seconds()
    while server.cpu_seconds() == before:
        sum(range(100_000))


def test_missing_wrk_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(serving.shutil, "which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["serving.py", "run", "sentences"])
    with pytest.raises(SystemExit, match="wrk is not installed"):
        serving.main()
