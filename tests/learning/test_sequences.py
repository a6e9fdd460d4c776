"""Training end to end learns to copy and to reverse sequences."""

from __future__ import annotations

import random

import pytest

from allyouneed import Translator
from allyouneed.data.corpora import as_corpora
from allyouneed.training.request import Request
from allyouneed.training.train import train
from tests.conftest import silent, write_pairs

SMALL = [
    "model.d_model=64",
    "model.d_ff=128",
    "model.encoder_layers=2",
    "model.decoder_layers=2",
    "model.dropout=0.0",
    "data.vocab_size=300",
    "training.batch_tokens=1000",
    "training.validate_every=200",
    "training.bleu_sentences=0",
]
PAPER = ["model.norm=post", "training.optimizer=adam", "training.learning_rate=0.002", "training.weight_decay=0"]


def sequences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcdefghijkl", k=rng.randint(3, 6))) for _ in range(count)]


@pytest.mark.parametrize(
    ("task", "recipe"),
    [
        pytest.param("copy", PAPER, id="copy", marks=pytest.mark.slow),  # easier than to reverse
        pytest.param("reverse", PAPER, id="reverse"),
        pytest.param("reverse", [], id="reverse tiny", marks=pytest.mark.slow),  # as the quickstart
    ],
)
def test_learns(tmp_path, task, recipe):
    change = {"copy": lambda text: text, "reverse": lambda text: text[::-1]}[task]
    files = [
        write_pairs(tmp_path, name, [(text, change(text)) for text in sequences(count, seed)])
        for name, count, seed in (("train", 8000, 1), ("valid", 50, 2))
    ]
    settings = [*SMALL, *recipe, "training.steps=300", "training.warmup=60", "data.faults=warn"]  # copies
    train(Request(*map(as_corpora, files), tmp_path / "run", ("aa", "bb"), "tiny", settings), silent())
    unseen = sequences(200, seed=3)
    said = [translation.text for translation in Translator.load(tmp_path / "run").translate(unseen)]
    right = sum(output == change(text) for output, text in zip(said, unseen, strict=True))
    assert right >= 180, right
