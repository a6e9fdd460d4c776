"""Right implementations are not blamed, whatever their style; the computation agrees with `allyouneed.Transformer`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import allyouneed
from allyouneed.verification.adapter import find_subject
from allyouneed.verification.computation import Batch, compute
from allyouneed.verification.plan import Plan
from allyouneed.verification.weights import our_names, weights_of
from tests.verification.right import RIGHT, ours

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # of torch.nn.Transformer


def randomised(model: nn.Module) -> nn.Module:
    """Randomise biases and norms, so that a wrong role shows."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dim() == 1:
            nn.init.normal_(parameter, parameter.mean().item(), 0.1)
    return model


@pytest.mark.parametrize("style", RIGHT)
def test_a_right_implementation_is_not_blamed(style):
    torch.manual_seed(0)
    verification = allyouneed.verify(randomised(RIGHT[style]()))
    assert verification.passed, verification.report()
    assert verification.diagnosis is not None, verification.unmapped
    assert not verification.diagnosis.unexplained
    assert len(verification.diagnosis.compared) > 20


def test_marian_of_transformers_is_not_blamed():
    transformers = pytest.importorskip("transformers")
    config = transformers.MarianConfig(
        vocab_size=23, decoder_vocab_size=23, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, pad_token_id=0,
        eos_token_id=2, decoder_start_token_id=0, forced_eos_token_id=2, scale_embedding=True,
        activation_function="swish", max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    verification = allyouneed.verify(randomised(transformers.MarianMTModel(config)))
    assert verification.passed, verification.report()
    assert [change.name for change, _ in verification.diagnosis.variations] == ["sinusoids-split", "silu"]


@pytest.mark.parametrize("settings", [{}, {"norm": "pre", "attention_bias": True}, {"positions": "learned"}])
def test_the_unchanged_plan_is_our_transformer(settings):
    torch.manual_seed(0)
    model = ours(**settings).double().eval()
    randomised(model)
    subject = find_subject(model)
    source, target = subject.sample(3, 7, 6)
    source[1, 5:] = target[2, 4:] = 0
    seen: dict[str, torch.Tensor] = {}

    def observe(step: str, value: torch.Tensor) -> torch.Tensor:
        seen[step] = value
        return value

    plan = Plan(norm=settings.get("norm", "post"), positions=settings.get("positions", "sinusoidal"))
    with torch.no_grad():
        logits = compute(weights_of(model), plan, Batch(source, target, 0), observe)
        expected = model(source, target)
    real = target != 0
    torch.testing.assert_close(logits[real], expected[real], rtol=1e-9, atol=1e-9)
    assert set(model.state_dict()) <= {*our_names(2, 2)}
    assert seen["logits"] is logits
