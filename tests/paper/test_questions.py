"""The measurements behind the two questions: against closed forms, and that each variant differs where it should."""

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
from allyouneed.paper.questions.experiments import SeesPadding, SeesTheFuture, Unscaled
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


def test_softmax_against_closed_forms():
    one, wide = questions.scale_by_width((1, 256))
    assert one["variance"] == pytest.approx(1, rel=0.1)
    assert wide["variance"] == pytest.approx(256, rel=0.05)
    # of n normal scores of small variance v the entropy is about ln n - v / 2
    assert wide["entropy, √d_k"] == pytest.approx(math.log(64) - 1 / 2, abs=0.05)
    assert wide["entropy, d_k"] == pytest.approx(math.log(64) - 1 / (2 * 256), abs=0.001)
    assert wide["entropy, none"] < 0.1 * math.log(64)
    assert wide["slope, none"] < 1e-6 < 1e-3 < wide["slope, √d_k"]
    for quantity in ("entropy", "largest", "gradient", "slope", "saturated"):
        assert one[f"{quantity}, none"] == one[f"{quantity}, √d_k"] == one[f"{quantity}, d_k"]


def test_jacobian_is_autograds():
    scores = torch.randn(5, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(lambda scores: scores.softmax(-1), scores)
    torch.testing.assert_close(questions.softmax_jacobian(scores.softmax(-1)), expected)


@torch.no_grad()
def test_unscaled_multiplies_scores_by_the_root_of_d_k():
    scores = []
    for build in (Transformer, Unscaled):
        recorder = AttentionRecorder()
        built(build)(SOURCE[:1], TARGET[:1, :-1], Probe((recorder,)))
        logarithms = recorder.encoder[0].log()  # the scores, but for a constant in each row
        scores.append(logarithms - logarithms.mean(-1, keepdim=True))
    torch.testing.assert_close(scores[1], scores[0] * math.sqrt(CONFIG.key_size), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_unscaled_decodes_with_a_cache_as_it_trains():
    model = built(Unscaled)
    cache = model.start(SOURCE)
    steps = [model.decode_step(TARGET[:, i], cache) for i in range(3)]
    torch.testing.assert_close(torch.stack(steps, dim=1), model(SOURCE, TARGET[:, :3]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "padding_is_seen_by", "future_is_seen_by"),
    [
        (Transformer, set(), set()),
        (Unscaled, set(), set()),
        (SeesPadding, {"encoder self-attention", "encoder-decoder attention"}, set()),
        (SeesTheFuture, set(), {"decoder self-attention"}),
    ],
)
def test_what_each_attention_hides(build, padding_is_seen_by, future_is_seen_by):
    rows = questions.what_is_hidden(built(build), Batch(SOURCE, TARGET))
    assert {row["attention"] for row in rows if row["on padding"] > 0} == padding_is_seen_by
    always = {"encoder self-attention", "encoder-decoder attention"}
    assert {row["attention"] for row in rows if row["on later positions"] > 0} == always | future_is_seen_by


@pytest.mark.parametrize("build", [Transformer, SeesTheFuture])
def test_gradient_with_respect_to_the_future(build):
    model, embedded = built(build), []

    def keep(module, inputs, output):
        output.retain_grad()
        embedded.append(output)

    model.target_embedding.register_forward_hook(keep)
    model(SOURCE[:1], TARGET[:1, :-1])[0, 1].sum().backward()
    assert (embedded[0].grad[0, 2:].abs().sum() > 0) == (build is SeesTheFuture)


def test_padding_changes_only_what_sees_it():
    store = PairStore(sentences([5, 6, 7], [9, 4]), sentences([10, 11], [12, 13, 14]))
    for build in (Transformer, SeesPadding):
        alone, padded = questions.with_padding(built(build), store, (0, 40))
        assert alone["changed"] == 0
        assert (abs(alone["loss"] - padded["loss"]) > 1e-4) == (build is SeesPadding)


def test_minutes_are_shared(tmp_path):
    with pytest.raises(UserError, match="--minutes"):
        questions.run_questions([], None, ("aa", "bb"), tmp_path, 1.0, silent(), ["training.minutes=3"])


def test_page_from_toy_trainings(tmp_path, monkeypatch):
    train, valid = write_pairs(tmp_path, "train", toy_pairs(400)), write_pairs(tmp_path, "valid", toy_pairs(30, seed=2))
    settings = [*TOY, "training.steps=20", "training.bleu_sentences=0", "training.validate_every=10"]
    arguments = (train, valid, ("aa", "bb"), tmp_path / "out", 1.0, silent(), settings)
    page = questions.run_questions(*arguments)
    assert page == tmp_path / "out" / "README.md"
    text = page.read_text(encoding="utf-8")
    assert "√d_k" in text
    assert text.count("| future not hidden |") == 1
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
    monkeypatch.setattr(questions, "train", None)  # what is measured is not measured again
    assert questions.run_questions(*arguments) == page


def test_by_minutes_all_variants_have_the_same_rates_however_wrong_the_speed_was_measured(tmp_path, monkeypatch):
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
    assert max(rates["paper"][:-1]) > 0.004  # it did warm up
    assert all(found == pytest.approx(rates["paper"]) for found in rates.values())
