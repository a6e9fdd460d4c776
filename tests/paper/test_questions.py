"""The two questions: measurements against closed forms, variants of the model, and the command."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from allyouneed.bundle import Bundle, build_model, load_bundle, save_bundle
from allyouneed.config import Config, ModelConfig
from allyouneed.data.batches import Batch, pad
from allyouneed.data.corpora import corpus
from allyouneed.data.store import PairStore, Sentences
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.errors import UserError
from allyouneed.insight.twins import load_twins
from allyouneed.insight.variants.switches import UncachedModel
from allyouneed.model.packed_forward import packed_hidden
from allyouneed.model.packing import pack
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.questions import experiments as questions
from allyouneed.paper.questions.ablation_data import uniform_entropies
from allyouneed.paper.questions.observations import attention_statistics, gradient_norms, jacobian_norm, sample_pairs
from allyouneed.paper.questions.softmax_scaling import scale_by_width, softmax_jacobian
from allyouneed.paper.questions.variants import (
    VARIANTS,
    FutureVisibleTransformer,
    OverscaledTransformer,
    PaddingVisibleTransformer,
    UnorderedTransformer,
    UnscaledTransformer,
)
from allyouneed.training.planning.schedule import Speed
from allyouneed.translation.engine import engine_for
from allyouneed.translation.search import greedy
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
@pytest.mark.parametrize("build", [UnscaledTransformer, OverscaledTransformer, UnorderedTransformer])
def test_packed_training_and_compiled_decoding_compute_the_variant(build):
    """Training and translation use other code paths than `forward`; a variant must hold in all of them."""
    model = built(build)
    states = model.hidden(SOURCE, TARGET[:, :-1])[TARGET[:, 1:] != 0]
    source, target = pack(SOURCE, SOURCE != 0), pack(TARGET[:, :-1], TARGET[:, 1:] != 0)
    torch.testing.assert_close(packed_hidden(model, source, target), states, rtol=1e-3, atol=1e-4)
    engine = engine_for(model)
    assert engine is not model
    found, expected, paper = (
        np.array([hypothesis.score for hypothesis in greedy(searched, SOURCE, [6, 6])])
        for searched in (engine, UncachedModel(model, Probe()), built(Transformer))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert (abs(found - paper) > 0.01).all()


@torch.no_grad()
def test_without_positions_a_permuted_source_is_encoded_as_the_same_set():
    order = [2, 0, 3, 1]
    for build in (Transformer, UnorderedTransformer):
        model = built(build)
        memory, permuted = model.encode(SOURCE[:1, :4])[0], model.encode(SOURCE[:1, order])[0]
        assert torch.allclose(memory[:, order], permuted, atol=1e-5) == (build is UnorderedTransformer)


@pytest.mark.parametrize("name", ["unscaled", "one_head_overscaled", "future", "padding", "positions"])
def test_a_variant_is_loaded_only_as_itself(name, tmp_path):
    variant, tokenizer = VARIANTS[name], learn_tokenizer(["a b c d e f"] * 20, 300)
    config = Config(model=CONFIG)
    save_bundle(
        Bundle(build_model(CONFIG, tokenizer, variant.build), tokenizer, config, ("aa", "bb"), 10), tmp_path / "b"
    )
    for build in (variant.build, variant.masked):
        assert load_bundle(tmp_path / "b", build).model.variant
    with pytest.raises(UserError, match="trained as"):
        load_bundle(tmp_path / "b")
    save_bundle(Bundle(build_model(CONFIG, tokenizer), tokenizer, config, ("aa", "bb"), 10), tmp_path / "paper")
    with pytest.raises(UserError, match="trained as"):
        load_bundle(tmp_path / "paper", variant.build)


def test_attention_statistics_and_gradients_against_independent_computation():
    for build in (Transformer, UnscaledTransformer):
        model, batch = built(build), Batch(SOURCE, TARGET)
        recorder = AttentionRecorder()
        logits = model(batch.source, batch.target_input, Probe((recorder,)))
        found = attention_statistics(model, batch)
        rows = [-(p[p > 0] * p[p > 0].log()).sum() for p in recorder.cross[1][0, 1].detach()[:5]]
        rows += [-(p[p > 0] * p[p > 0].log()).sum() for p in recorder.cross[1][1, 1].detach()[:3]]
        assert found["entropy"]["cross"][1][1] == pytest.approx(float(torch.stack(rows).mean()), rel=1e-4)
        real = batch.target_output != 0
        assert found["accuracy"] == pytest.approx(
            float((logits.argmax(-1) == batch.target_output)[real].float().mean())
        )
        # the gradient: W^Q enters as W^Q · √d_k without the division, so its gradient has that factor
        loss = torch.nn.functional.cross_entropy(logits[real], batch.target_output[real])
        query = model.decoder.layers[0].cross_attention.query
        [original] = query.parameters()
        expected = torch.autograd.grad(loss, original)[0].norm()
        settings = Config().override(["training.label_smoothing=0"]).training
        norms = gradient_norms(model, batch, settings)
        assert norms["loss"] == pytest.approx(float(loss), rel=1e-4)
        assert norms["projections"]["cross"]["query"][0] == pytest.approx(float(expected), rel=1e-3)


def test_jacobian_norm_agrees_with_the_matrix():
    weights = (torch.randn(3, 7, dtype=torch.float64) * 3).softmax(-1)
    torch.testing.assert_close(jacobian_norm(weights), torch.linalg.matrix_norm(softmax_jacobian(weights)))
    assert float(jacobian_norm(torch.tensor([1.0, 0.0], dtype=torch.float64))) == 0


def test_entropy_of_uniform_weights():
    found = uniform_entropies(np.array([4, 2]), np.array([3, 2]))
    assert found["encoder"] == pytest.approx((4 * math.log(4) + 2 * math.log(2)) / 6)
    assert found["decoder"] == pytest.approx((math.log(2) + math.log(3) + math.log(2)) / 3)
    assert found["cross"] == pytest.approx((3 * math.log(4) + 2 * math.log(2)) / 5)


def test_sentences_of_other_languages_are_those_of_the_validation_set():
    assert sample_pairs(("ko", "en"), [("가", "a"), ("나", "b")]) == [("가", "a"), ("나", "b")]
    assert sample_pairs(("en", "de"), [])[0] == sample_pairs(("de", "en"), [])[0][::-1]


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
    train = [corpus(*write_pairs(tmp_path, "train", toy_pairs(400)))]
    valid = [corpus(*write_pairs(tmp_path, "valid", toy_pairs(30, seed=2)))]
    settings = [*TOY, "training.steps=10", "training.bleu_sentences=5", "training.validate_every=5"]
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
    assert steps == dict.fromkeys((variant.title for variant in questions.VARIANTS.values()), "10")
    found = load_twins(tmp_path / "out")
    assert found["runs"].keys() == VARIANTS.keys()
    assert found["runs"]["one_head_unscaled"]["changes"]["scale"] == "none"
    assert {name: run["heads"] for name, run in found["runs"].items() if run["heads"] < 2} == dict.fromkeys(
        ("one_head", "one_head_unscaled", "one_head_overscaled"), 1
    )
    for name, run in found["runs"].items():
        assert run["steps"] == [0, 5, 10], name
        assert [point[2] is not None for point in run["validation"]] == [True, True]
    assert len(found["sentences"]) == 6
    plans = [json.loads((tmp_path / "out" / name / "run.json").read_text())["plan"] for name in questions.VARIANTS]
    assert all(plan == plans[0] for plan in plans)
    monkeypatch.setattr(questions, "train", None)  # nothing is trained again
    assert questions.run_questions(*arguments) == page


def test_all_variants_have_the_same_learning_rates_even_with_a_wrong_speed(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.planning.agreement.measure", lambda loop, seconds: Speed(0.5, 0.01, 0.1))
    train = [corpus(*write_pairs(tmp_path, "train", toy_pairs(400)))]
    valid = [corpus(*write_pairs(tmp_path, "valid", toy_pairs(30, seed=2)))]
    settings = [setting for setting in TOY if not setting.startswith("training.steps")]
    settings += ["training.bleu_sentences=0", "training.log_every=1", "training.validate_every=3"]
    chosen = ("paper", "one_head", "future")
    monkeypatch.setattr(questions, "VARIANTS", {name: VARIANTS[name] for name in chosen})
    monkeypatch.setattr(questions, "observe", lambda bundle, valid: {})
    monkeypatch.setattr(questions, "write_ablations", lambda results: None)
    monkeypatch.setattr(questions, "write_page", lambda results: results.folder)
    questions.run_questions(train, valid, ("aa", "bb"), tmp_path / "out", 0.3, silent(), settings)
    rates = {}
    for name in chosen:
        records = map(json.loads, (tmp_path / "out" / name / "log.jsonl").read_text().splitlines())
        rates[name] = [record["learning_rate"] for record in records if record["event"] == "train"]
    assert 10 <= len(rates["paper"]) < 15
    assert max(rates["paper"][:-1]) > 0.004  # the warm-up took place
    assert all(each == pytest.approx(rates["paper"]) for each in rates.values())


def test_documents_cite_the_run_that_the_package_contains():
    docs = Path(__file__).parents[2] / "docs"
    [folder] = (docs / "results").glob("questions-*")
    shipped = load_twins()
    assert load_twins(folder) == shipped
    scores = {(f"{run['final']['loss']:.2f}", f"{run['final']['bleu']:.1f}") for run in shipped["runs"].values()}
    for name in ("paper.md", "paper.ko.md"):
        text = (docs / name).read_text(encoding="utf-8")
        questions_text = text[text.index("scale_by_width`)") :]
        tables = [line.strip("| ").split(" | ") for line in questions_text.splitlines() if line.startswith("| ")]
        scales = [(cells[7], cells[8]) for cells in tables if len(cells) == 9 and cells[0].isdecimal()]
        masks = [(cells[2], cells[4]) for cells in tables if len(cells) == 5 and cells[4][0].isdecimal()]
        assert len(scales) >= 6
        assert len(masks) == 3
        assert {*scales, *masks} <= scores
        assert folder.name in text
