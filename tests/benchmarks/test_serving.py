"""Results page of the serving benchmark, from simulated loads; the measurement itself needs wrk and minutes."""

import pytest

from benchmarks import serving
from benchmarks.serving import Load


def test_the_page_has_every_round_and_the_medians(tmp_path, monkeypatch):
    sentences, out = tmp_path / "sentences", tmp_path / "new" / "folder"
    sentences.write_text("a b\n\nc d\n")
    rates = iter([100.0, 90.0, 110.0])
    loads = iter([Load(80.0, 10.0, 40.0, 0), Load(60.0, 20.0, 30.0, 2), Load(70.0, 10.0, 15.0, 0)])

    def programs(args, sentences):
        assert sentences == ["a b", "c d"]
        yield "allyouneed translate", lambda: next(rates)
        yield "allyouneed serve", lambda: next(loads)

    monkeypatch.setattr(serving, "_programs", programs)
    monkeypatch.setattr(serving.shutil, "which", lambda name: name)
    monkeypatch.setattr("sys.argv", ["serving.py", str(tmp_path / "run"), str(sentences), "--out", str(out)])
    serving.main()
    [page] = out.iterdir()
    text = page.read_text(encoding="utf-8")
    assert "| allyouneed serve | 2 | 60 | 20 | 30 | 2 |" in text
    assert "| allyouneed translate | 3 | 110 | | | |" in text
    assert "the server reaches 70 % of the offline command's sentences per second" in text
    assert "p99 is at most 4.0 times the median" in text
    assert str(tmp_path) not in text


def test_missing_wrk_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(serving.shutil, "which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["serving.py", "run", "sentences"])
    with pytest.raises(SystemExit, match="wrk is not installed"):
        serving.main()
