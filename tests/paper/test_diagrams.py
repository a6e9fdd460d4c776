"""Figures 1 and 2: texts, shapes and parameters of small models."""

import pytest
import torch

pytest.importorskip("matplotlib")

from allyouneed.config import ModelConfig
from allyouneed.model.transformer import Transformer
from allyouneed.paper.figures.diagrams import draw_architecture, draw_attention_blocks
from allyouneed.paper.figures.trace import block_rows, trace

SOURCE, TARGET = [5, 6, 7, 8, 3], [2, 9, 10]
POST = ModelConfig(d_model=24, d_ff=48, num_heads=3, d_k=4, d_v=6, encoder_layers=2, decoder_layers=5)
PRE = ModelConfig(
    d_model=16, d_ff=64, num_heads=2, encoder_layers=3, decoder_layers=1, norm="pre", positions="learned",
    max_positions=77, tie_embeddings=False,
)  # fmt: skip


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def model_of(config: ModelConfig) -> Transformer:
    torch.manual_seed(1)
    return Transformer(config, 40).eval()


@pytest.mark.parametrize("config", [POST, PRE], ids=["post", "pre"])
def test_figure_1_shows_shapes_and_sizes(config):
    model = model_of(config)
    figure = draw_architecture(model, trace(model, SOURCE, TARGET), ("ein $ und $x_{", "a dog"))
    figure.draw_without_rendering()
    texts = texts_of(figure)
    width = config.d_model
    assert {"[1, 5]", "[1, 3]", f"[1, 5, {width}]", f"[1, 3, {width}]", "[1, 3, 40]"} <= set(texts)
    assert {f"{config.encoder_layers} ×", f"{config.decoder_layers} ×", "ein $ und $x_{", "a dog"} <= set(texts)
    assert texts.count("Multi-Head Attention") == 2
    assert texts.count("Masked Multi-Head Attention") == 1
    assert texts.count(f"{config.num_heads} heads, $d_k$ = {config.key_size}, $d_v$ = {config.value_size}") == 3
    assert f"{width} → {config.d_ff} → {width}, ReLU between" in texts
    assert any(f"{model.num_parameters():,} parameters" in text for text in texts)


def test_norms_are_drawn_in_execution_order():
    post, pre = (texts_of(draw_architecture(m, trace(m, SOURCE, TARGET), ("", ""))) for m in map(model_of, (POST, PRE)))
    assert (post.count("Add & Norm"), post.count("Norm")) == (5, 0)
    assert (pre.count("Add & Norm"), pre.count("Norm")) == (0, 7)  # one before each sub-layer, one after each stack
    first_sublayer = [text for text in pre if text in ("Norm", "Multi-Head Attention")][:2]
    assert first_sublayer == ["Norm", "Multi-Head Attention"]


def test_positions_and_the_shared_matrix():
    post, pre = (texts_of(draw_architecture(m, trace(m, SOURCE, TARGET), ("", ""))) for m in map(model_of, (POST, PRE)))
    assert "Positional\nEncoding:\nsines and\ncosines" in post
    assert "Positional\nEncoding:\nlearned,\n77 × 16" in pre
    assert "shared matrix" in post
    assert "shared matrix" not in pre
    assert "24 → 40, shared with the embeddings" in post
    assert "16 → 40" in pre


def test_figure_2_shows_shapes_and_masks():
    model = model_of(POST)
    texts = texts_of(draw_attention_blocks(trace(model, SOURCE, TARGET)))
    assert {"[1, 3, 5, 5]", "[1, 3, 5, 4]", "[1, 3, 5, 6]", "[1, 5, 24]", "[1, 5, 18]"} <= set(texts)
    assert {"divided by √4 = 2.00", "3 × (24 → 4)", "3 × (24 → 6)", "3 × 6 = 18", "18 → 24"} <= set(texts)
    masks = texts[texts.index("encoder self-attention") :]
    assert masks[:4] == ["encoder self-attention", "hides padding", "[1, 1, 1, 5]", "0 of 5 here"]
    assert masks[4:8] == ["decoder self-attention", "hides the future", "[3, 3]", "3 of 9 here"]
    assert masks[8:12] == ["encoder-decoder attention", "hides padding", "[1, 1, 1, 5]", "0 of 5 here"]


@pytest.mark.parametrize("config", [POST, PRE], ids=["post", "pre"])
def test_block_rows_count_every_parameter_once(config):
    model = model_of(config)
    rows = block_rows(model, trace(model, SOURCE, TARGET))
    assert sum(row["parameters"] for row in rows) == model.num_parameters()
    copies = {row["block"]: row["copies"] for row in rows}
    assert copies["decoder.layers.cross_attention"] == config.decoder_layers


def test_a_trace_removes_its_hooks():
    model = model_of(POST)
    trace(model, SOURCE, TARGET)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_activation_is_shown():
    model = model_of(POST.model_copy(update={"activation": "swish"}))
    texts = texts_of(draw_architecture(model, trace(model, SOURCE, TARGET), ("", "")))
    assert texts.count("24 → 48 → 24, swish between") == 2
