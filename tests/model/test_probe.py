"""Probes observe every site of a pass; the observed values equal those of the equations computed with NumPy."""

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.model.embedding import sinusoids
from allyouneed.model.probe import Interventions, Probe, StateRecorder
from allyouneed.model.transformer import Transformer

SOURCE = torch.tensor([[5, 9, 12, 3], [7, 3, 0, 0]])
TARGET = torch.tensor([[2, 8, 11], [2, 6, 4]])
SETTINGS = [
    {},
    {"norm": "pre"},
    {"activation": "swish", "tie_embeddings": "target"},
    {"positions": "learned", "max_positions": 9, "tie_embeddings": False},
]


def make_model(**settings) -> Transformer:
    torch.manual_seed(1)
    sizes = {"d_model": 16, "d_ff": 24, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 3}
    config = ModelConfig(**{**sizes, **settings})
    model = Transformer(config, 20, target_vocab_size=None if config.tie_embeddings is True else 23).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases that differ from 1 and 0
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def observe(model, *names, interventions=None):
    recorder = StateRecorder(*names)
    with torch.no_grad():
        logits = model(SOURCE, TARGET, Probe((recorder,), interventions or Interventions()))
    return logits.numpy(), {site: {n: x.numpy() for n, x in kept.items()} for site, kept in recorder.sites.items()}


class Oracle:
    """The equations of a model in NumPy."""

    def __init__(self, model):
        self.w = {name: x.numpy() for name, x in model.state_dict().items()}
        self.swish = model.config.activation == "swish"

    def norm(self, x, name):
        variance = x.var(-1, keepdims=True)
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-5) * self.w[name + ".weight"] + self.w[
            name + ".bias"
        ]

    def feed_forward(self, x, name):
        hidden = x @ self.w[name + ".inner.weight"].T + self.w[name + ".inner.bias"]
        hidden = hidden / (1 + np.exp(-hidden)) if self.swish else np.maximum(hidden, 0)
        return hidden, hidden @ self.w[name + ".outer.weight"].T + self.w[name + ".outer.bias"]


@pytest.mark.parametrize("settings", SETTINGS)
def test_observed_values_lead_to_the_logits(settings):
    model = make_model(**settings)
    logits, sites = observe(model)
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(SOURCE, TARGET).numpy(), atol=1e-5)
    oracle, pre = Oracle(model), model.config.norm == "pre"
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
    for side, ids, kinds, layers in (
        ("source", SOURCE, ("encoder",), model.encoder.layers),
        ("target", TARGET, ("decoder", "cross"), model.decoder.layers),
    ):
        stack = "encoder" if side == "source" else "decoder"
        embedded = sites[side, 0]
        close(embedded["tokens"], oracle.w[f"{side}_embedding.tokens.weight"][ids] * 4)
        learned = oracle.w.get(f"{side}_embedding.positions")
        close(embedded["positions"], (sinusoids(9, 16).numpy() if learned is None else learned)[: ids.shape[1]])
        x = embedded["tokens"] + embedded["positions"]
        close(embedded["result"], x)
        for layer in range(len(layers)):
            for number, kind in enumerate((*kinds, f"{stack} feed-forward")):
                at, norm = sites[kind, layer], f"{stack}.layers.{layer}.residuals.{number}.norm"
                close(at["residual"], x)
                close(at["x"], oracle.norm(x, norm) if pre else x)
                x = x + at["output"]
                x = x if pre else oracle.norm(x, norm)
                close(at["result"], x)
            hidden, output = oracle.feed_forward(at["x"], f"{stack}.layers.{layer}.feed_forward")
            close(at["hidden"], hidden)
            close(at["output"], output)
        x = oracle.norm(x, f"{stack}.norm") if pre else x
        close(sites[f"{stack} output", 0]["result"], x)
    close(sites["cross", 0]["memory"], sites["encoder output", 0]["result"])
    close(logits, x @ oracle.w["output.weight"].T + oracle.w.get("output.bias", 0))


def test_a_recorder_keeps_only_the_requested_names():
    _, sites = observe(make_model(), "hidden", "ids")
    assert {name for kept in sites.values() for name in kept} == {"hidden", "ids"}


def test_positions_that_are_off_are_observed_as_zeros():
    _, sites = observe(make_model(), interventions=Interventions(positions=False))
    assert not sites["target", 0]["positions"].any()
    np.testing.assert_allclose(sites["target", 0]["result"], sites["target", 0]["tokens"])


def test_steps_of_decoding_are_observed():
    model, recorder = make_model(norm="pre"), StateRecorder()
    probe = Probe((recorder,))
    with torch.no_grad():
        cache = model.start(SOURCE, probe)
        for position in range(TARGET.shape[1]):
            model.decode_step(TARGET[:, position], cache, probe)
    _, whole = observe(model)
    for site in (("decoder output", 0), ("decoder feed-forward", 2), ("target", 0)):
        np.testing.assert_allclose(recorder.sites[site]["result"], whole[site]["result"][:, -1:], atol=1e-5)
