"""Peers that load our weights compute the same model."""

import pytest

from allyouneed import Translator
from benchmarks.measure.peers import Peer, store_weights
from tests.exchange.models import TEXTS, random_bundle

_COMPARED = 40  # tokens; random models run to the maximum length, which differs between systems


def test_transformers_gives_the_same_greedy_output(tmp_path):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    bundle = random_bundle(norm="pre")
    translator = Translator(bundle)
    peer = Peer("transformers", store_weights(bundle, tmp_path, "transformers"), None, 1, tmp_path / "log")
    try:
        outputs = peer.translate(bundle.tokenizer.encode_all(TEXTS), beam=1)
    finally:
        peer.close()
    ours = [
        each.tokens for each in translator.translate(TEXTS, beam_size=1, length_penalty=0.0, repetition_guard=False)
    ]
    theirs = [bundle.tokenizer.pieces(ids) for ids in outputs]
    assert [tokens[:_COMPARED] for tokens in theirs] == [tokens[:_COMPARED] for tokens in ours]
    assert peer.peak > 0


@pytest.mark.parametrize(
    "settings",
    [{"positions": "learned"}, {"tie_embeddings": False}, {"activation": "swish"}, {"d_k": 4}, {"norm_epsilon": 1e-6}],
)
def test_unsupported_architectures_are_rejected(tmp_path, settings):
    with pytest.raises(ValueError, match="peers support only the paper's settings"):
        store_weights(random_bundle(**settings), tmp_path, "fairseq")
    assert not list(tmp_path.iterdir())
