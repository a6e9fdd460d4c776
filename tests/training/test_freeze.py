"""Frozen parts of a start: identical weights, equal gradients elsewhere, and no computation for them."""

from __future__ import annotations

import copy
import dataclasses
from functools import partial

import pytest
import torch

from allyouneed import UserError
from allyouneed.bundle import load_bundle, weights_of
from allyouneed.config import ModelConfig, TrainingConfig
from allyouneed.files import read_tensors
from allyouneed.model.transformer import Transformer
from allyouneed.training.freeze import describe_frozen, freeze
from allyouneed.training.loop import Loop
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.step import batch_loss
from allyouneed.training.train import FINISHED, train
from tests.compat import POST_NORM
from tests.conftest import silent, toy_request
from tests.training.test_distributed import with_two_ranks
from tests.training.test_plain import VOCABULARY, batch
from tests.training.test_resume import _Crash, crashing_after

FURTHER = ["training.steps=6", "training.batch_tokens=400", "training.warmup=2", "training.bleu_sentences=5"]
SIZES = {"d_model": 32, "d_ff": 48, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}


def model(plain: bool = False, **more) -> Transformer:
    torch.manual_seed(3)
    return Transformer(ModelConfig(**SIZES, **more), VOCABULARY, plain=plain)


def frozen_names(network: Transformer, *parts: str) -> set[str]:
    freeze(network, parts)
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_frozen_weights_are_identical_after_training(optimizer, tmp_path):
    settings = [*FURTHER, "training.freeze=embeddings,encoder", f"training.optimizer={optimizer}"]
    settings += ["training.learning_rate=0.001", "training.average=3", "training.average_every=1"]
    request = dataclasses.replace(
        toy_request(tmp_path / "text", tmp_path / "run"), recipe=None, settings=settings, start_from=POST_NORM
    )
    assert train(request, silent()).status == FINISHED
    before = weights_of(load_bundle(POST_NORM).model)
    last = tmp_path / "run" / "checkpoints" / "step-00000006"
    for after in (weights_of(load_bundle(tmp_path / "run").model), read_tensors(last / "model.safetensors")):
        same = {name for name, weight in before.items() if torch.equal(weight, after[name])}
        assert same == {name for name in before if name.startswith(("source_embedding", "encoder"))}
    state = {name.partition("|")[0] for name in read_tensors(last / "optimizer.safetensors")}
    assert state == {name for name in before if name.startswith("decoder")}


def test_a_frozen_run_can_be_resumed(tmp_path, monkeypatch):
    runs = []
    for name in ("whole", "crashed"):
        request = dataclasses.replace(
            toy_request(tmp_path / "text", tmp_path / name),
            recipe=None,
            settings=[*FURTHER, "training.freeze=encoder,decoder.1", "training.save_minutes=0.00001"],
            start_from=POST_NORM,
        )
        if name == "crashed":
            with crashing_after(4, monkeypatch):
                train(request, silent())
        train(request, silent())
        runs.append(weights_of(load_bundle(tmp_path / name).model))
    assert all(torch.equal(weight, runs[1][name]) for name, weight in runs[0].items())
    reordered = [setting.replace("encoder,decoder.1", "decoder.1,encoder") for setting in request.settings]
    assert train(dataclasses.replace(request, settings=reordered), silent()).status == FINISHED


@pytest.mark.usefixtures("own_products")
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("tied", [True, "target", False])
@pytest.mark.parametrize(
    "parts", [["embeddings", "encoder"], ["encoder.2", "decoder.feed_forward"], ["output"], ["decoder.1-2.attention"]]
)
def test_the_other_gradients_are_unchanged(parts, tied, plain):
    """The oracle is the whole gradient of the same model without freezing."""
    whole, training = model(plain, tie_embeddings=tied, output_bias=True), TrainingConfig(plain=plain)
    partly = copy.deepcopy(whole)
    names = frozen_names(partly, *parts)
    for network in (whole, partly):
        batch_loss(network.train(), batch(1), training, torch.device("cpu"))[0].backward()
    expected = dict(whole.named_parameters())
    assert names
    for name, parameter in partly.named_parameters():
        if name in names:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, expected[name].grad, msg=name)


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_passes_back_through_a_frozen_encoder(plain):
    network, outputs = model(plain), []
    network.encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output.requires_grad))
    for parts in ([], ["encoder"], ["embeddings"]):
        freeze(network, parts)
        batch_loss(network.train(), batch(1), TrainingConfig(plain=plain), torch.device("cpu"))
    assert outputs == [True, True, False]


def test_names_of_parts():
    layer = "encoder.layers.1."
    assert frozen_names(model(), "encoder.2") == {n for n, _ in model().named_parameters() if n.startswith(layer)}
    attention = frozen_names(model(), "decoder.1.attention")
    assert {name.split(".")[3] for name in attention} == {"self_attention", "cross_attention"}
    assert frozen_names(model(), "decoder.cross_attention") == {
        f"decoder.layers.{index}.cross_attention.{name}.weight"
        for index in (0, 1)
        for name in ("query", "key", "value", "output")
    }
    untied = partial(model, tie_embeddings=False, positions="learned", max_positions=400)
    assert frozen_names(untied(), "source_embeddings") == {
        "source_embedding.tokens.weight", "source_embedding.positions",
    }  # fmt: skip
    assert frozen_names(untied(), "output") == {"output.weight"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["encoder.3"], r"training\.freeze = encoder\.3: the encoder has the layers 1 to 2\."),
        (["decoder.2-1"], r"the decoder has the layers 1 to 2\."),
        (["encoder.cross_attention"], r"the encoder has no cross_attention"),
        (["embeddings", "encoder", "decoder"], "freezes the whole model"),
    ],
)
def test_impossible_parts_are_refused(parts, message):
    with pytest.raises(UserError, match=message):
        freeze(model(), parts)


def test_the_description_names_matrices_that_are_frozen_too():
    network = model()
    freeze(network, ["embeddings", "encoder"])
    whole = " ".join(describe_frozen(network, ["embeddings", "encoder"]))
    trained = sum(p.numel() for name, p in network.named_parameters() if name.startswith("decoder"))
    assert f"frozen: embeddings, encoder; {trained:,} of {network.num_parameters():,} parameters" in whole
    assert "also frozen: the output projection, because they are the same matrix" in whole
    alone = model()
    freeze(alone, ["encoder"])
    assert "gradients still pass through it" in " ".join(describe_frozen(alone, ["encoder"]))
    assert describe_frozen(model(), []) == []


def test_optimizers_without_parameters_are_left_out():
    network = model()
    freeze(network, ["encoder", "decoder.1", "decoder.2.attention", "decoder.2.feed_forward"])
    [adam] = make_optimizers(network, TrainingConfig(optimizer="muon"), 1e-3)
    assert len(adam.param_groups[0]["params"]) == 1 + 6  # embeddings, and weight and bias of three norms
    network = model(tie_embeddings=False)
    freeze(network, ["embeddings", "output"])
    assert len(make_optimizers(network, TrainingConfig(optimizer="muon"), 1e-3)) == 2


@pytest.mark.slow
def test_two_ranks_freeze_alike(tmp_path):
    settings = [*FURTHER, "training.freeze=embeddings,encoder", "model.dropout=0.0"]
    one = dataclasses.replace(
        toy_request(tmp_path / "text", tmp_path / "one"), recipe="base", settings=settings, start_from=POST_NORM
    )
    train(one, silent())
    two = dataclasses.replace(one, out=tmp_path / "two")
    done = with_two_ranks(two, ["--start-from", str(POST_NORM)])
    assert done.returncode == 0, done.stderr
    assert "frozen: embeddings, encoder" in done.stderr
    last = "checkpoints/step-00000006/model.safetensors"
    weights, expected = read_tensors(tmp_path / "two" / last), read_tensors(tmp_path / "one" / last)
    for name, weight in weights.items():
        assert (weight - expected[name]).norm() < 1e-2 * expected[name].norm(), name  # Adam amplifies rounding


def test_freezing_needs_a_start(tmp_path, monkeypatch):
    monkeypatch.setattr(Loop, "step", lambda loop: (_ for _ in ()).throw(_Crash))
    with pytest.raises(UserError, match=r"training\.freeze \(--freeze\) without --start-from"):
        train(toy_request(tmp_path / "text", tmp_path / "run", ["training.freeze=encoder"]), silent())
