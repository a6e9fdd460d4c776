import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.model.layers import DecoderLayer, EncoderLayer, Residual
from allyouneed.model.masks import future_mask, padding_mask
from tests.model.oracles import close, randomise, torch_decoder_layer, torch_encoder_layer

IDS = torch.tensor([[5] * 6, [5] * 4 + [0] * 2])


def config(norm: str) -> ModelConfig:
    return ModelConfig(d_model=32, d_ff=48, num_heads=4, dropout=0.0, norm=norm, attention_bias=True)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_encoder_layer_agrees_with_torch(norm):
    ours = EncoderLayer(config(norm)).eval()
    randomise(ours)
    theirs = torch_encoder_layer(ours, config(norm))
    x = torch.randn(2, 6, 32)
    with torch.enable_grad():  # avoids PyTorch's fused path, which sets padding to zero
        expected = theirs(x, src_key_padding_mask=IDS == 0)
    assert close(ours(x, padding_mask(IDS, 0))[IDS != 0], expected[IDS != 0])


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_decoder_layer_agrees_with_torch(norm):
    ours = DecoderLayer(config(norm)).eval()
    randomise(ours)
    theirs = torch_decoder_layer(ours, config(norm))
    x, memory = torch.randn(2, 5, 32), torch.randn(2, 6, 32)
    expected = theirs(x, memory, tgt_mask=~future_mask(5), memory_key_padding_mask=IDS == 0)
    assert close(ours(x, memory, future_mask(5), padding_mask(IDS, 0)), expected)


def test_post_norm_normalises_the_output_and_pre_norm_does_not():
    x = torch.randn(2, 3, 32) * 5
    post, pre = Residual(32, 0.0, "post"), Residual(32, 0.0, "pre")
    assert close(post(x, lambda x: x).mean(-1), torch.zeros(2, 3))
    assert torch.equal(pre(x, torch.zeros_like), x)
