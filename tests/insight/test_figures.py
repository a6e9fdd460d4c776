import io
import sys

import numpy as np
import pytest
import torch
from torch import nn

import allyouneed
from allyouneed import insight
from allyouneed.insight.logit_lens import logit_lens
from tests.insight.conftest import random_translator

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'allyouneed[paper]'")
pixels = pytest.importorskip("matplotlib.image")
TEXT = "a dog runs"


def image(png: bytes) -> np.ndarray:
    return pixels.imread(io.BytesIO(png))


def test_every_result_has_a_picture(small):
    with torch.no_grad(), allyouneed.record(small.model, small.tokenizer) as recording:
        small.model(torch.tensor([[5, 6, 3]]), torch.tensor([[2, 8]]))
    layer = nn.TransformerEncoderLayer(8, 2, 8)
    with torch.no_grad(), allyouneed.record(layer) as module_recording:
        layer.eval()(torch.randn(3, 8))
    results = [
        recording,
        module_recording,
        recording.view(),
        insight.explore(small, TEXT, switches=[]),
        logit_lens(small, TEXT, "the cat"),
        insight.attribute(small, TEXT, "the cat", "the dog"),
        insight.patch_sentences(random_translator(2, 2, 16), TEXT, "a cat runs"),
    ]
    for result in results:
        found = image(result._repr_png_())
        assert found.shape[0] > 100
        assert found[..., :3].std() > 0.01
    with pytest.raises(TypeError, match="no picture of object"):
        insight.figures.draw(object())


def test_a_head_is_drawn_with_its_weights(small, tmp_path):
    attention = insight.explore(small, TEXT, "the cat", switches=[]).view()
    picture = insight.figures.draw_heads(attention, "cross", 1, 0)
    [axes] = picture.figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), attention.cross[1, 0])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "<s>"
    assert len(labels) == attention.cross.shape[2]
    assert picture.save(tmp_path / "head.svg").read_text().startswith("<?xml")
    grid = insight.figures.draw_heads(attention, "encoder")
    assert len(grid.figure.axes) == 2 * 2


def test_explorer_equals_the_command(small, tmp_path):
    found = insight.explore(small, TEXT, switches=[])
    assert found.data()["translation"] == small.translate(TEXT).text
    np.testing.assert_array_equal(found.attention.cross, small.look(TEXT).cross)
    assert found.save(tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_without_matplotlib_a_notebook_shows_the_rest(small, monkeypatch):
    lens = logit_lens(small, TEXT, "the cat")
    monkeypatch.delitem(sys.modules, "allyouneed.insight.figures", raising=False)
    monkeypatch.delattr(insight, "figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert lens._repr_png_() is None
    with pytest.raises(allyouneed.UserError, match="pip install"):
        lens.picture()
