"""Training cost: the paper's rule and counted operations."""

from __future__ import annotations

import pytest

from allyouneed.config import load_recipe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.cost import BASE, BIG, flops_per_token, hardware_flops, paper_flops
from allyouneed.training.resolution.size import training_flops


def test_the_papers_rule():
    assert hardware_flops(10, 8, 2.0) == 160
    assert paper_flops(BASE) == pytest.approx(12 * 3600 * 8 * 9.5e12)
    assert f"{paper_flops(BASE):.1e}" == "3.3e+18"
    assert paper_flops(BIG) == pytest.approx(3.5 * 86400 * 8 * 9.5e12)
    assert f"{paper_flops(BIG):.1e}" == "2.3e+19"


def test_operations_of_base():
    """Each attention of base has 4 · 512² weights, each feed-forward network 2 · 512 · 2048."""
    encoder = 6 * (4 * 512**2 + 2 * 512 * 2048)
    decoder = 6 * (8 * 512**2 + 2 * 512 * 2048)
    per_token = 6 * (encoder + decoder + 37_000 * 512)
    assert training_flops(load_recipe("base").model, 37_000) == per_token
    total = per_token * BASE.batch_tokens * BASE.steps
    assert total == pytest.approx(9.45e17, rel=1e-3)
    assert total / paper_flops(BASE) == pytest.approx(0.288, abs=1e-3)  # utilisation of the devices


def test_counted_operations_agree_with_the_formula():
    config = load_recipe("tiny").model
    assert flops_per_token(Transformer(config, 1000)) == training_flops(config, 1000)


def test_an_untied_embedding_counts_only_at_the_softmax():
    untied = load_recipe("tiny").replace(model={"tie_embeddings": False}).model
    assert flops_per_token(Transformer(untied, 1000)) == training_flops(untied, 1000)
