"""Peers that load our weights compute the same model."""

import json
import zipfile

import numpy as np
import pytest

from allyouneed import Translator
from allyouneed.data.tokens.tokenizer import BOS
from benchmarks.measure.peers import Peer, store_weights
from tests.exchange.models import TEXTS, random_bundle

SIDES = ("encoder", "decoder")
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
    "settings", [{"positions": "learned"}, {"tie_embeddings": False}, {"activation": "swish"}, {"d_k": 4}]
)
def test_unsupported_architectures_are_rejected(tmp_path, settings):
    with pytest.raises(ValueError, match="peers support only sinusoids"):
        store_weights(random_bundle(**settings), tmp_path, "fairseq")
    assert not list(tmp_path.iterdir())


def test_marian_gets_every_weight(tmp_path):
    bundle = random_bundle(norm="pre")
    config, embedding = bundle.config.model, bundle.model.source_embedding.tokens.weight.detach().numpy()
    folder = store_weights(bundle, tmp_path, "marian")
    with zipfile.ZipFile(folder / "model.npz") as archive:
        # Marian's reader knows neither compression, ZIP64 nor Fortran order.
        assert all(each.compress_type == zipfile.ZIP_STORED and not each.extra for each in archive.infolist())
        assert not any(b"'fortran_order': True" in archive.read(name)[:200] for name in archive.namelist())
    with np.load(folder / "model.npz") as stored:
        arrays = dict(stored)
    names = [line.split(":")[0].strip('"') for line in (folder / "vocabulary.yml").read_text().splitlines()]
    options = json.loads(arrays.pop("special:model.yml").tobytes().rstrip(b"\0"))
    assert options["dim-vocabs"] == [len(names)] * 2 == [len(embedding) - 2] * 2  # no padding, no BOS
    np.testing.assert_allclose(arrays["Wemb"][names.index("w7")], embedding[7] * config.d_model**0.5, rtol=1e-6)
    table = {side: arrays[f"TransformerBatch{side.title()}->{side}->positionEmbedding->embeddings"] for side in SIDES}
    np.testing.assert_allclose(
        (table["decoder"] - table["encoder"])[0], embedding[BOS] * config.d_model**0.5, rtol=1e-4, atol=1e-5
    )
    layers = config.encoder_layers * (4 * 2 + 2 * 2 + 2 * 2) + config.decoder_layers * (8 * 2 + 2 * 2 + 3 * 2)
    assert len(arrays) == layers + len(("Wemb", *table, *("norm scale", "norm bias") * 2))


def test_marian_rejects_post_norm(tmp_path):
    with pytest.raises(ValueError, match="only pre-norm"):
        store_weights(random_bundle(norm="post"), tmp_path, "marian")
