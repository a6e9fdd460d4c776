"""The forecast before training, and dry runs."""

import json

import pytest
from typer.testing import CliRunner

import allyouneed
from allyouneed.cli import app
from allyouneed.terminal import expand_options
from allyouneed.training import dry_run
from allyouneed.training.forecast import Forecast, usual_bleu
from tests.conftest import toy_pairs, write_pairs

SETTINGS = [
    *("model.d_model=16", "model.d_ff=16", "model.num_heads=2", "model.encoder_layers=1", "model.decoder_layers=1"),
    *("data.vocab_size=300", "training.batch_tokens=400", "training.warmup=2", "training.bleu_sentences=4"),
]


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch):
    monkeypatch.setattr(dry_run, "_SECONDS", 0.1)


def run_command(arguments):
    return CliRunner().invoke(app, expand_options(arguments))


def test_bleu_is_that_of_the_sources_at_their_sizes_and_grows_with_the_size():
    assert usual_bleu(100_000) == pytest.approx((0, 16.6))
    assert usual_bleu(400_000)[0] == pytest.approx(1.6)
    assert usual_bleu(3_200_000)[1] == pytest.approx(32.8)
    assert usual_bleu(24_100_000)[0] == pytest.approx(25.7)
    assert usual_bleu(10**12) == pytest.approx((27.3, 41.8))
    assert usual_bleu(0) == usual_bleu(50_000) == pytest.approx((0, 16.6))
    sizes = [usual_bleu(10.0**power) for power in range(4, 11)]
    assert sizes == sorted(sizes)
    assert all(low < high for low, high in sizes)


def test_lines_say_what_is_measured_and_what_is_not():
    known = {"pairs": 1000, "source_tokens": 9000, "target_tokens": 8000, "target_words": 6543, "vocabulary": 500}
    speed = {"tokens_per_second": 4000.0, "epoch_seconds": 150.0, "epochs": 7.5, "parameters": 2_500_000}
    memory = {"memory": 3 * 10**9, "memory_is_measured": True}
    measured = Forecast(**known, **speed, **memory, speed_is_measured=True, bleu=(1.4, 22.2))
    text = "\n".join(measured.lines())
    assert "1,000 pairs, 9,000 source and 8,000 target tokens, 2.5 million parameters with a vocabulary of 500" in text
    assert "3 GB of memory so far; 4,000 target tokens per second (measured): 2.5 minutes an epoch; 7.5 epochs" in text
    assert "(about 6,500 target words) usually give 1 to 22 BLEU" in text
    assert "Koehn and Knowles 2017" in text
    memory = {"memory": 10**7, "memory_is_measured": False}
    rough = Forecast(**known, **speed, **memory, speed_is_measured=False, bleu=None)
    text = "\n".join(rough.lines())
    assert "at least" in text
    assert "estimated from the speed of matrix products" in text
    assert "BLEU" not in text


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dry")
    train, valid = write_pairs(folder, "train", toy_pairs(200)), write_pairs(folder, "valid", toy_pairs(20, seed=5))
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    text = ["--from", "de", "--to", "en", "--train", *map(str, train), "--valid", *map(str, valid)]
    return ["train", *text, "--out", str(folder / "run"), "--set", "training.steps=12", *settings], folder / "run"


def test_a_dry_run_reports_and_trains_nothing_and_the_same_command_trains(command):
    arguments, run = command
    result = run_command([*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    page = (run / "report.html").read_text()
    assert "dry run: the text is prepared, nothing is trained" in page
    assert "target tokens per second (measured)" in page
    assert page.count("<figure") == 3
    assert not (run / "bundle").exists()
    assert not (run / "checkpoints").exists()
    prepared = (run / "data" / "corpus.json").stat().st_mtime_ns
    changed = run_command([*arguments[:-2], "--set", "training.bleu_sentences=3", "--dry-run"])
    assert changed.exit_code == 0, changed.output  # no plan is stored, so that settings may change
    result = run_command(arguments)
    assert result.exit_code == 0, result.output
    assert (run / "data" / "corpus.json").stat().st_mtime_ns == prepared  # not prepared again
    [forecast] = [each for each in map(json.loads, (run / "log.jsonl").open()) if each["event"] == "forecast"]
    assert forecast["pairs"] == len(set(toy_pairs(200)))
    assert not forecast["speed_is_measured"]
    trained = (run / "report.html").read_text()
    assert "usually give" in trained
    again = run_command([*arguments, "--dry-run"])
    assert again.exit_code == 0, again.output
    assert (run / "report.html").read_text() == trained


def test_python_has_the_same_option(tmp_path):
    files = list(map(str, write_pairs(tmp_path, "train", toy_pairs(200))))
    settings = [*SETTINGS, "training.steps=12"]
    result = allyouneed.train(
        source="de", target="en", train=files, out=tmp_path / "run", settings=settings, dry_run=True, quiet=True
    )
    assert result.scores == {}
    assert result.ending.startswith("dry run")
    assert result.report.is_file()
