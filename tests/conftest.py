"""Shared fixtures: a toy corpus (reversed letters), and a run trained on it in seconds."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from allyouneed import kernels
from allyouneed.cli import main
from allyouneed.data.corpora import corpus
from allyouneed.training.request import Request
from allyouneed.training.train import train

# Toy models are too small to gain from a second thread. Subprocesses inherit this, so that results are bit-identical.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

BROWSERS = ("/usr/bin/chromium", "chromium", "google-chrome", "chrome")
QUIET = ("quic", "background-networking", "component-update", "sync", "gpu")
ARGUMENTS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]

HANGUL = str.maketrans("abcdefgh", "가나다라마바사아")  # turns toy text into the script of Korean
TOY = [
    "model.d_model=32",
    "model.d_ff=64",
    "model.num_heads=2",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "model.dropout=0.1",
    "data.vocab_size=300",
    "data.max_length=40",
    "training.batch_tokens=400",
    "training.steps=40",
    "training.warmup=10",
    "training.learning_rate=0.005",
    "training.validate_every=15",
    "training.average_every=5",
    "training.bleu_sentences=10",
    "training.log_every=10",
]


@pytest.fixture
def own_products(monkeypatch):
    """Use `kernels.matmul` for all sizes that it supports, on any processor."""
    pytest.importorskip("numba")
    monkeypatch.setattr("allyouneed.kernels.choice.is_faster", lambda width: True)
    monkeypatch.setattr("allyouneed.kernels._MIN_ROWS", 1)


@pytest.fixture
def bf16(monkeypatch):
    """Use bf16 products even if they are slow; skip tests where the processor, or Numba's target, has none."""
    pytest.importorskip("numba")
    if not kernels.has_bf16():
        pytest.skip("the processor has neither AMX nor AVX512_BF16")
    monkeypatch.setattr("allyouneed.kernels.choice._bf16_speedup", 2.0)


@pytest.fixture
def vnni():
    """Skip tests of int8 translation where the processor, or Numba's configured target, cannot do it."""
    pytest.importorskip("numba")
    if not kernels.has_vnni():
        pytest.skip("the processor has no AVX-512 VNNI")


def toy_pairs(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Return pairs of letters and the same letters in reverse order."""
    rng = random.Random(seed)
    sources = (" ".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(count))
    return [(source, source[::-1]) for source in sources]


def write_pairs(folder: Path, name: str, pairs: list[tuple[str, str]]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.src", folder / f"{name}.tgt"]
    for side, path in enumerate(paths):
        path.write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    return paths


def toy_request(folder: Path, out: Path, settings: list[str] | None = None) -> Request:
    train_files = write_pairs(folder, "train", toy_pairs(400))
    valid_files = write_pairs(folder, "valid", toy_pairs(30, seed=2))
    return Request([corpus(*train_files)], [corpus(*valid_files)], out, ("aa", "bb"), "tiny", [*TOY, *(settings or [])])


@pytest.fixture(scope="session")
def multi30k() -> Path:
    """Return the folder of Multi30k's raw and tokenised files, which are not in the repository."""
    folder = Path(os.environ.get("ALLYOUNEED_DATA", Path(__file__).parents[2] / "shared" / "data")) / "multi30k"
    if not folder.is_dir():
        pytest.skip("Multi30k is missing: set ALLYOUNEED_DATA to a folder with multi30k/train.de.gz and the rest")
    return folder


def silent() -> Console:
    return Console(quiet=True)


@pytest.fixture(autouse=True)
def _exit_code_of_pytest(monkeypatch):
    """Keep a command that runs in this process from deciding on the exit code of pytest, see `run_app`."""
    monkeypatch.setattr("allyouneed.terminal.atexit", SimpleNamespace(register=lambda end: end))


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command line in this process; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["allyouneed", *map(str, arguments)])
        capsys.readouterr()  # discard earlier output
        with pytest.raises(SystemExit) as exit_info:
            main()
        return exit_info.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a toy RUN. Tests must copy it before they change it."""
    folder = tmp_path_factory.mktemp("toy")
    train(toy_request(folder / "text", folder / "run"), silent())
    return folder / "run"


@pytest.fixture(scope="module")  # an open browser occupies the event loop of this process
def browser():
    """Start Chromium with Playwright, or skip the test."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip("Chromium is missing: as root, `make .venv/browser` installs it with apt-get")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()
