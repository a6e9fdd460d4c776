"""The code of docs/howto/own-model.md."""

import importlib.util

import numpy as np
import pytest

from allyouneed.exchange.hugging_face import export as marian
from allyouneed.translation.translator import Translator
from tests.compat import POST_NORM
from tests.pages import blocks

MARIAN, TORCH, ARRAYS = blocks("docs/howto/own-model.md", "python")


def test_hugging_face(tmp_path, monkeypatch):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed: pip install 'allyouneed[exchange]'")
    translator = Translator.load(POST_NORM)
    marian.export_marian(translator.bundle, tmp_path / "HF")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(MARIAN, namespace)
    heads, config = namespace["heads"], translator.model.config
    tokens = len(heads.source_tokens), len(heads.target_tokens)
    assert heads.encoder.shape == (config.encoder_layers, config.num_heads, tokens[0], tokens[0])
    assert heads.cross.shape == (config.decoder_layers, config.num_heads, tokens[1], tokens[0])
    assert (tmp_path / "heads.html").stat().st_size > 10_000
    # The same weights, computed by this package for the same translation
    text = namespace["tokenizer"].decode(namespace["generated"], skip_special_tokens=True)
    attention = translator.look("a b c", text, stages=False)
    for kind in ("encoder", "decoder", "cross"):
        np.testing.assert_allclose(getattr(heads, kind), getattr(attention, kind), atol=1e-4)


def test_torch_transformer():
    namespace: dict = {}
    exec(TORCH, namespace)
    heads = namespace["heads"]
    assert (heads.encoder.shape, heads.decoder.shape, heads.cross.shape) == ((3, 4, 7, 7), (2, 4, 5, 5), (2, 4, 5, 7))
    assert not np.triu(heads.decoder, 1).any()


def test_arrays():
    namespace: dict = {}
    exec(ARRAYS, namespace)
    weights = namespace["weights"]
    entropy = -(weights * np.log(weights)).sum(-1).mean(-1)
    np.testing.assert_allclose(namespace["heads"].statistics()["cross"]["entropy"], entropy, rtol=1e-4)
