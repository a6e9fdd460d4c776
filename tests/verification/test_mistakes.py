"""Every seeded mistake is found and named, also two at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import allyouneed
from allyouneed.verification.findings import catalogue, checks
from allyouneed.verification.plan import variations
from tests.verification.tutorial import MISTAKES, Norm, TutorialTransformer


def found(verification) -> set[str]:
    return {finding.name for finding in verification.findings if finding.status != "passed"}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake):
    torch.manual_seed(0)
    layers = 2 if mistake == "memory of the same layer" else 1
    verification = allyouneed.verify(TutorialTransformer(mistake, layers=layers))
    expected = MISTAKES[mistake]
    assert expected in found(verification)
    faults = {finding.name for finding in verification.of("failed")}
    if expected in catalogue():
        level = catalogue()[expected].level
        assert faults <= ({expected, "half"} if level == "fault" else set())
        assert not verification.diagnosis.unexplained
    else:
        assert faults == ({expected} if expected != "half" else set())  # a module in float32 works
    assert verification.passed == (not faults)


def test_the_number_of_mistakes():
    assert len(MISTAKES) >= 25
    assert {change.name for change in variations()} <= catalogue().keys()
    for entry in [*catalogue().values(), *checks().values()]:
        for key in ("title", "why", "remedy"):
            if key == "title" or entry.name not in ("final-norm",):
                assert entry.texts["en"].get(key), (entry.name, key)
                assert entry.texts["ko"].get(key), (entry.name, key)
        assert all(url.startswith("https://github.com/") for url in entry.seen)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("scale missing", "embedding unscaled"),
        ("exponents doubled", "future visible"),
        ("heads merged without transpose", "relu missing"),
        ("norm before", "scale by d_k"),
    ],
)
def test_two_mistakes_are_both_named(first, second):
    torch.manual_seed(0)

    class Both(TutorialTransformer):
        def __init__(self):
            super().__init__(first)
            other = TutorialTransformer(second)
            for path, module in other.named_modules():
                mine = self.get_submodule(path) if path else self
                if hasattr(module, "mistake") and _differs(second, path):
                    mine.mistake = second
            if second == "embedding unscaled":
                self.src_embed.scale = self.tgt_embed.scale = 1.0
            if second == "future visible":
                self.mistake = second

    verification = allyouneed.verify(Both())
    assert {MISTAKES[first], MISTAKES[second]} <= found(verification)
    assert not verification.diagnosis.unexplained


def _differs(mistake: str, path: str) -> bool:
    """Tell whether a module of the tutorial is where the mistake is made."""
    place = {"relu missing": "ffn", "scale by d_k": "attn"}.get(mistake, "nowhere")
    return place in path


def test_a_mistake_that_is_not_in_the_catalogue_is_located():
    torch.manual_seed(0)
    model = TutorialTransformer()
    inner = model.decoder[1].ffn.forward
    model.decoder[1].ffn.forward = lambda x: 1.3 * inner(x)
    verification = allyouneed.verify(model)
    [finding] = verification.of("failed")
    assert finding.name == "unexplained"
    assert finding.step == "decoder.1.ffn.norm_input"
    assert "decoder layer 2, feed-forward" in finding.measured["en"]


def test_the_factor_of_the_first_step_is_named():
    torch.manual_seed(0)
    verification = allyouneed.verify(TutorialTransformer("scale missing", d_model=32, heads=4))
    [finding] = verification.of("failed")
    assert finding.measured["en"] == "encoder layer 1, self-attention: scores are √d_k = √8 = 2.83 times too large"
    assert verification.comparison.factor == pytest.approx(8**0.5, rel=1e-4)


def test_mistakes_that_are_equal_for_these_sizes_are_both_reported():
    """With d_model = d_k², √d_model is d_k."""
    torch.manual_seed(0)
    verification = allyouneed.verify(TutorialTransformer("scale by d_k", d_model=16, heads=4))
    [finding] = verification.of("failed")
    assert {finding.name, *finding.alternatives} == {"scale-squared", "scale-d_model"}


def test_without_hooks_the_logits_alone_name_the_mistake(monkeypatch):
    """As for modules whose steps cannot be observed."""
    record = allyouneed.verification.verifier.record

    def only_logits(*arguments: object):
        recording = record(*arguments)
        return type(recording)({"logits": recording.steps["logits"]}, None)

    monkeypatch.setattr("allyouneed.verification.verifier.record", only_logits)
    for mistake in ("softmax over queries", "memory of the same layer", "sinusoids split"):
        torch.manual_seed(0)
        verification = allyouneed.verify(TutorialTransformer(mistake))
        assert [change.name for change, _ in verification.diagnosis.variations] == [MISTAKES[mistake]]


def test_the_module_is_not_changed():
    torch.manual_seed(0)
    model = TutorialTransformer().train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    allyouneed.verify(model)
    assert model.training
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_weights_by_a_dictionary():
    class Renamed(TutorialTransformer):
        def __init__(self):
            super().__init__("scale missing")
            for layer in [*self.encoder, *self.decoder]:
                layer.part = layer.ffn.fc1
                del layer.ffn.fc1
                layer.ffn.fc1 = layer.part

        def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
            return super().forward(src, tgt)

    torch.manual_seed(0)
    model = Renamed()
    names = {
        f"{side}.layers.{i}.feed_forward.{ours}.{kind}": f"{side}.{i}.ffn.{theirs}.{kind}"
        for side in ("encoder", "decoder")
        for i in range(2)
        for ours, theirs in (("inner", "fc1"), ("outer", "fc2"))
        for kind in ("weight", "bias")
    }
    verification = allyouneed.verify(model, weights=names)
    assert [change.name for change, _ in verification.diagnosis.variations] == ["scale-missing"]


def test_a_norm_that_is_not_called_does_not_hide_a_mistake():
    torch.manual_seed(0)
    model = TutorialTransformer("scale by d_model", layers=1)
    model.encoder[0].norms.insert(1, Norm(len(model.encoder[0].norms[0].gamma), ""))
    verification = allyouneed.verify(model)
    assert verification.diagnosis is not None, verification.unmapped
    assert found(verification) >= {"scale-d_model", "unused"}
