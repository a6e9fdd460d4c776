"""A vocabulary size that the user did not give never fails; one that the user gave is used or refused."""

import dataclasses

import pytest

from allyouneed.bundle import load_bundle
from allyouneed.data.corpora import corpus
from allyouneed.errors import UserError
from allyouneed.training.train import train
from tests.conftest import TOY, silent, toy_request, write_pairs
from tests.data.test_tokenizer_training import chinese

QUICK = [setting for setting in TOY if "vocab_size" not in setting and "steps" not in setting] + ["training.steps=2"]


@pytest.fixture
def request_for(tmp_path):
    def make(pairs, **changes):
        texts = chinese(pairs, 2000)
        files = write_pairs(tmp_path, "chinese", list(zip(texts[::2], texts[1::2], strict=True)))
        request = toy_request(tmp_path / "toy", tmp_path / "run")
        return dataclasses.replace(
            request, **{"train": [corpus(*files)], "languages": ("zh", "zh"), "settings": QUICK, **changes}
        )

    return make


@pytest.mark.parametrize("pairs", [3, 500])
@pytest.mark.parametrize("recipe", [None, "fast"])
def test_the_programs_own_size_fits(request_for, pairs, recipe):
    request = request_for(pairs, recipe=recipe)
    train(request, silent())
    assert len(load_bundle(request.out).tokenizer) > 300


@pytest.mark.parametrize("subwords", ["unigram", "word"])
def test_the_programs_own_size_fits_other_algorithms(request_for, subwords):
    train(request_for(300, recipe=None, settings=[*QUICK, f"data.subwords={subwords}"]), silent())


def test_a_given_size_that_is_too_small_is_refused(request_for, tmp_path):
    message = r"data\.vocab_size = 400 is too small.* require \d+\. Give at least that number"
    with pytest.raises(UserError, match=message):
        train(request_for(300, settings=[*QUICK, "data.vocab_size=400"]), silent())
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[data]\nvocab_size = 400\n")
    with pytest.raises(UserError, match=message):
        train(request_for(300, recipe=str(recipe)), silent())
