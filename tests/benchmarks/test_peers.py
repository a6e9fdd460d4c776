"""A peer that is given our weights computes the same model."""

import pytest

from allyouneed import Translator
from benchmarks.measure.peers import Peer, store_weights
from tests.exchange.models import TEXTS, random_bundle

_SAID = 40  # subwords: a model of random weights goes on to the longest length, which is another for each


def test_transformers_says_greedily_what_we_say(tmp_path):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    bundle = random_bundle(norm="pre")
    translator = Translator(bundle)
    peer = Peer("transformers", store_weights(bundle, tmp_path / "weights.pt"), None, 1, tmp_path / "log")
    try:
        said = peer.translate(bundle.tokenizer.encode_all(TEXTS), beam=1)
    finally:
        peer.close()
    ours = [one.tokens for one in translator.translate(TEXTS, beam_size=1, length_penalty=0.0)]
    theirs = [bundle.tokenizer.pieces(ids) for ids in said]
    assert [tokens[:_SAID] for tokens in theirs] == [tokens[:_SAID] for tokens in ours]
    assert peer.peak > 0


@pytest.mark.parametrize(
    "settings", [{"positions": "learned"}, {"tie_embeddings": False}, {"activation": "swish"}, {"d_k": 4}]
)
def test_a_model_that_no_peer_has_is_refused(tmp_path, settings):
    with pytest.raises(ValueError, match="peers take sinusoids"):
        store_weights(random_bundle(**settings), tmp_path / "weights.pt")
    assert not (tmp_path / "weights.pt").exists()
