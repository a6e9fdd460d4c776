"""Models with random weights: the same fixed lengths in both engines, and the table."""

import pytest

pytest.importorskip("ctranslate2")

from benchmarks.measure import random_models, random_models_worker
from benchmarks.measure.random_models import OURS, THEIRS, Load, Visits, random_table

LOAD = Load(sentences=4, length=6, latency=2, threads=1)


@pytest.mark.parametrize("recipe", ["base", random_models.OPUS_MT])
def test_translations_have_the_given_length_in_both_engines(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(random_models, "load_recipe", lambda name: small_recipe())
    vocab_size = random_models.settings_of(recipe).data.vocab_size
    exported = random_models._export(recipe, tmp_path / "exported")
    sources = LOAD.sources(vocab_size)
    ours = random_models_worker.ours(recipe, "float32", LOAD.length)
    theirs = random_models_worker.ctranslate2(str(exported), vocab_size, "float32", LOAD.length, threads=1, batch=4)
    assert ours(sources, 1, 1) == theirs(sources, 1, 1)
    for beam, translate in ((1, ours), (2, ours), (2, theirs)):
        assert [len(ids) for ids in translate(sources, beam, 1)] == [LOAD.length] * LOAD.sentences


def small_recipe():
    from allyouneed.config import load_recipe

    sizes = {"d_model": 32, "d_ff": 48, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    return load_recipe("tiny").replace(model=sizes, data={"vocab_size": 64})


def test_the_table_has_ratios_of_the_same_type():
    visits = {
        f"{OURS} int8": Visits([200.0, 400.0, 300.0], [0.01] * 4, 2**20, [[1, 2]]),
        f"{THEIRS} int8": Visits([100.0], [0.02] * 4, 2**21, [[1, 3]]),
    }
    ours, theirs = random_table("base", LOAD, {4: visits}).splitlines()[-2:]
    assert ours == "| 4 | allyouneed int8 | 300 (200 to 400) | 1.00 × | 10 / 10 | 1.00 × | 1 MiB | 100% |"
    assert theirs == "| 4 | CTranslate2 int8 | 100 (100 to 100) | 3.00 × | 20 / 20 | 2.00 × | 2 MiB | 50% |"
