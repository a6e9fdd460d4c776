"""The two questions: measurements against closed forms, variants of the model, and the command."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.data.batches import Batch, pad
from allyouneed.data.store import PairStore, Sentences
from allyouneed.errors import UserError
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.questions import experiments as questions
from allyouneed.paper.questions.softmax_scaling import scale_by_width, softmax_jacobian
from allyouneed.paper.questions.variants import (
    FutureVisibleTransformer,
    PaddingVisibleTransformer,
    UnscaledTransformer,
)
from allyouneed.training.schedule import Speed
from tests.conftest import TOY, silent, toy_pairs, write_pairs

CONFIG = ModelConfig(d_model=32, d_ff=64, num_heads=2, encoder_layers=2, decoder_layers=2, dropout=0.0)
SOURCE = pad([[5, 6, 7, 8, 3], [9, 4, 3]])
TARGET = pad([[2, 10, 11, 12, 13, 3], [2, 14, 15, 3]])


def built(build: type[Transformer]) -> Transformer:
    torch.manual_seed(0)
    return build(CONFIG, 20).eval()


def sentences(*rows: list[int]) -> Sentences:
    return Sentences(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


def test_softmax_statistics_against_closed_forms():
    one, wide = scale_by_width((1, 256))
    assert one["variance"] == pytest.approx(1, rel=0.1)
    assert wide["variance"] == pytest.approx(256, rel=0.05)
    # the entropy of n normal scores with small variance v is about ln n - v / 2
    assert wide["entropy, √d_k"] == pytest.approx(math.log(64) - 1 / 2, abs=0.05)
    assert wide["entropy, d_k"] == pytest.approx(math.log(64) - 1 / (2 * 256), abs=0.001)
    assert wide["entropy, none"] < 0.1 * math.log(64)
    assert wide["slope, none"] < 1e-6 < 1e-3 < wide["slope, √d_k"]
    for quantity in ("entropy", "largest", "gradient", "slope", "saturated"):
        assert one[f"{quantity}, none"] == one[f"{quantity}, √d_k"] == one[f"{quantity}, d_k"]


def test_jacobian_agrees_with_autograd():
    scores = torch.randn(5, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(lambda scores: scores.softmax(-1), scores)
    torch.testing.assert_close(softmax_jacobian(scores.softmax(-1)), expected)


@torch.no_grad()
def test_unscaled_scores_are_larger_by_the_root_of_d_k():
    scores = []
    for build in (Transformer, UnscaledTransformer):
        recorder = AttentionRecorder()
        built(build)(SOURCE[:1], TARGET[:1, :-1], Probe((recorder,)))
        logarithms = recorder.encoder[0].log()  # the scores up to a constant per row
        scores.append(logarithms - logarithms.mean(-1, keepdim=True))
    torch.testing.assert_close(scores[1], scores[0] * math.sqrt(CONFIG.key_size), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_unscaled_decoding_with_a_cache():
    model = built(UnscaledTransformer)
    cache = model.start(SOURCE)
    steps = [model.decode_step(TARGET[:, i], cache) for i in range(3)]
    torch.testing.assert_close(torch.stack(steps, dim=1), model(SOURCE, TARGET[:, :3]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "padding_visible_in", "future_visible_in"),
    [
        (Transformer, set(), set()),
        (UnscaledTransformer, set(), set()),
        (PaddingVisibleTransformer, {"encoder self-attention", "encoder-decoder attention"}, set()),
        (FutureVisibleTransformer, set(), {"decoder self-attention"}),
    ],
)
def test_what_each_attention_hides(build, padding_visible_in, future_visible_in):
    rows = questions.what_is_hidden(built(build), Batch(SOURCE, TARGET))
    assert {row["attention"] for row in rows if row["on padding"] > 0} == padding_visible_in
    always = {"encoder self-attention", "encoder-decoder attention"}
    assert {row["attention"] for row in rows if row["on later positions"] > 0} == always | future_visible_in


@pytest.mark.parametrize("build", [Transformer, FutureVisibleTransformer])
def test_gradient_with_respect_to_the_future(build):
    model, embedded = built(build), []

    def keep(module, inputs, output):
        output.retain_grad()
        embedded.append(output)

    model.target_embedding.register_forward_hook(keep)
    model(SOURCE[:1], TARGET[:1, :-1])[0, 1].sum().backward()
    assert (embedded[0].grad[0, 2:].abs().sum() > 0) == (build is FutureVisibleTransformer)


def test_padding_affects_only_the_model_without_its_mask():
    store = PairStore(sentences([5, 6, 7], [9, 4]), sentences([10, 11], [12, 13, 14]))
    for build in (Transformer, PaddingVisibleTransformer):
        alone, padded = questions.with_padding(built(build), store, (0, 40))
        assert alone["changed"] == 0
        assert (abs(alone["loss"] - padded["loss"]) > 1e-4) == (build is PaddingVisibleTransformer)


def test_the_setting_training_minutes_is_refused(tmp_path):
    with pytest.raises(UserError, match="--minutes"):
        questions.run_questions([], None, ("aa", "bb"), tmp_path, 1.0, silent(), ["training.minutes=3"])


def test_the_command_on_toy_trainings(tmp_path, monkeypatch):
    train, valid = write_pairs(tmp_path, "train", toy_pairs(400)), write_pairs(tmp_path, "valid", toy_pairs(30, seed=2))
    settings = [*TOY, "training.steps=20", "training.bleu_sentences=0", "training.validate_every=10"]
    arguments = (train, valid, ("aa", "bb"), tmp_path / "out", 1.0, silent(), settings)
    page = questions.run_questions(*arguments)
    assert page == tmp_path / "out" / "README.md"
    text = page.read_text(encoding="utf-8")
    assert "√d_k" in text
    assert text.count("| future visible |") == 1
    tables = {}
    for name in ("scale", "masks", "trainings", "padding", "curves"):
        tables[name] = list(csv.DictReader(page.with_name(f"{name}.csv").read_text(encoding="utf-8").splitlines()))
        assert tables[name], name
    for plot in ("scale.png", "curves.png"):
        assert page.with_name(plot).stat().st_size > 1000
        assert f"]({plot})" in text
    steps = {row["training"]: row["step"] for row in tables["curves"]}
    assert steps == dict.fromkeys((variant.title for variant in questions.VARIANTS.values()), "20")
    plans = [json.loads((tmp_path / "out" / name / "run.json").read_text())["plan"] for name in questions.VARIANTS]
    assert all(plan == plans[0] for plan in plans)
    monkeypatch.setattr(questions, "train", None)  # nothing is trained again
    assert questions.run_questions(*arguments) == page


def test_all_variants_have_the_same_learning_rates_even_with_a_wrong_speed(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.train.measure", lambda loop, seconds: Speed(0.5, 0.01, 0.1))
    train, valid = write_pairs(tmp_path, "train", toy_pairs(400)), write_pairs(tmp_path, "valid", toy_pairs(30, seed=2))
    settings = [setting for setting in TOY if not setting.startswith("training.steps")]
    settings += ["training.bleu_sentences=0", "training.log_every=1", "training.validate_every=3"]
    questions.run_questions(train, valid, ("aa", "bb"), tmp_path / "out", 0.4, silent(), settings)
    rates = {}
    for name in questions.VARIANTS:
        records = map(json.loads, (tmp_path / "out" / name / "log.jsonl").read_text().splitlines())
        rates[name] = [record["learning_rate"] for record in records if record["event"] == "train"]
    assert 10 <= len(rates["paper"]) < 15
    assert max(rates["paper"][:-1]) > 0.004  # the warm-up took place
    assert all(each == pytest.approx(rates["paper"]) for each in rates.values())
