import io
import sys

import numpy as np
import pytest
import torch
from torch import nn

import allyouneed
from allyouneed import insight
from allyouneed.insight.layers.logit_lens import logit_lens
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


def test_tokens_are_drawn_as_they_are(tmp_path):
    """`$` begins no formula; a token in a script that the first font lacks uses the other installed fonts."""
    pictures = []
    for tokens in (["$\\frac$", "$5", "a_b$$"], ["x", "y", "z"]):
        view = allyouneed.view(encoder=np.eye(3)[None, None], source_tokens=tokens)
        pictures.append(insight.figures.draw_heads(view, "encoder", 0, 0))
        assert image(pictures[-1].png()).shape[0] > 100
    texts = [text for text in pictures[0].figure.findobj(lambda x: hasattr(x, "get_parse_math")) if text.get_text()]
    assert {text.get_text() for text in texts} > {"$\\frac$", "$5", "a_b$$"}
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = [name for name in insight.figures._FONTS if name in installed]
    assert all(text.get_fontfamily() == families for text in texts)


def test_positions_without_a_counterpart_are_hatched(small):
    patching = insight.patch_sentences(random_translator(2, 2, 16), TEXT, "a dog and a cat runs")
    missing = [column for column, partner in enumerate(patching.counterparts) if partner < 0]
    assert missing
    [axes] = insight.figures.draw_patching(patching).figure.axes
    assert axes.patch.get_hatch()
    assert axes.images[0].get_array().mask[:, missing].all()  # transparent


def test_a_picture_that_cannot_be_drawn(tmp_path):
    view = allyouneed.view(encoder=np.eye(3)[None, None])
    draw = insight.figures.draw_heads
    for arguments, message in (
        (("cross",), "no attention 'cross': choose from encoder"),
        (("encoder", 1), "1 layers, numbered from 0: there is no layer 1"),
        (("encoder", 0, -1), "there is no head -1"),
        (("encoder", None, 0), "needs its layer"),
    ):
        with pytest.raises(allyouneed.UserError, match=message):
            draw(view, *arguments)
    for name in ("missing/x.png", "x.unknown"):
        with pytest.raises(allyouneed.UserError, match="cannot write the picture"):
            view.picture().save(tmp_path / name)


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
