import pytest
import torch
from torch import nn

from allyouneed.config import ModelConfig, TrainingConfig
from allyouneed.model.transformer import Transformer
from allyouneed.training.optimizer import Muon, make_optimizers, orthogonalise


def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1), 40)


def test_adam_has_the_papers_settings_and_all_parameters():
    [adam] = make_optimizers(model(), TrainingConfig(), 1e-3)
    [group] = adam.param_groups
    assert (group["betas"], group["eps"], group["peak"]) == ((0.9, 0.98), 1e-9, 1e-3)
    assert len(group["params"]) == len(list(model().parameters()))


def test_muon_updates_the_matrices_and_adam_the_rest():
    adam, muon = make_optimizers(model(), TrainingConfig(optimizer="muon"), 1e-3)
    assert all(p.dim() == 2 for p in muon.param_groups[0]["params"])
    assert len(muon.param_groups[0]["params"]) == 4 + 2 + 8 + 2
    vocabulary = [p for p in adam.param_groups[0]["params"] if p.shape == (40, 16)]
    assert len(vocabulary) == 1


@pytest.mark.parametrize(("bf16", "error"), [(False, 1e-3), (True, 0.06)])
def test_orthogonalise_brings_singular_values_near_one(bf16, error):
    torch.manual_seed(0)
    for shape in ((3, 16, 16), (20, 16, 40), (2, 40, 16)):
        matrices = torch.randn(shape)
        left, values, right = torch.linalg.svd(matrices, full_matrices=False)
        found = left.mT @ orthogonalise(matrices, bf16) @ right.mT
        shares = values / matrices.norm(dim=(1, 2))[:, None]
        turned = torch.diagonal(found, dim1=1, dim2=2)
        assert turned[shares > 0.003].min() > 0.8 - error
        assert turned.max() < 1.2 + error
        assert (found - torch.diag_embed(turned)).abs().max() < error  # singular vectors are unchanged


@pytest.mark.parametrize("seed", range(4))
def test_orthogonalise_in_bf16_is_stable_at_the_largest_singular_value(seed):
    """A matrix of rank 1 has a singular value equal to its norm, which rounding may enlarge."""
    torch.manual_seed(seed)
    matrix = torch.outer(torch.randn(64), torch.randn(48))[None]
    found = torch.linalg.svdvals(orthogonalise(matrix, bf16=True))[0]
    assert 0.8 < found[0] < 1.2


def test_a_muon_step_is_equal_in_all_directions():
    torch.manual_seed(0)
    linear = nn.Linear(12, 12, bias=False)
    before = linear.weight.detach().clone()
    linear.weight.grad = torch.randn(12, 12)
    Muon([linear.weight], lr=0.1).step()
    values = torch.linalg.svdvals(linear.weight.detach() - before)
    assert values.max() / values.min() < 4
