"""`--start-from`: further training of our own or an imported translator."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from allyouneed import Translator, UserError
from allyouneed import bundle as bundles
from allyouneed.bundle import load_bundle, weights_of
from allyouneed.exchange.marian_import import import_marian
from allyouneed.training import resolve as resolving
from allyouneed.training.distributed import Ranks
from allyouneed.training.resolve import resolve
from allyouneed.training.run_record import RunRecord
from allyouneed.training.size import DEFAULT_MINUTES
from allyouneed.training.train import FINISHED, train
from tests.compat import POST_NORM
from tests.conftest import TOY, silent, toy_request
from tests.exchange.opus import SHAPES, write_marian

TOY_SIZES = [setting for setting in TOY if setting.startswith("model.")]
FURTHER = ["training.steps=4", "training.batch_tokens=400", "training.warmup=2", "training.bleu_sentences=5"]


def further(folder, start, settings=()):
    return dataclasses.replace(
        toy_request(folder / "text", folder / "run"), recipe=None, settings=[*FURTHER, *settings], start_from=start
    )


def test_training_starts_from_the_given_weights(tmp_path):
    outcome = train(further(tmp_path, POST_NORM), silent())
    assert outcome.status == FINISHED
    assert outcome.scores["valid"]["exact_match"] > 90  # not possible in four steps from random weights
    before, after = load_bundle(POST_NORM), load_bundle(tmp_path / "run")
    assert after.tokenizer.model == before.tokenizer.model
    assert after.config.model == before.config.model
    pairs = zip(weights_of(before.model).values(), weights_of(after.model).values(), strict=True)
    assert not all(torch.equal(old, new) for old, new in pairs)


@pytest.mark.parametrize("shape", ["joint, swish", "two vocabularies, tied"])
def test_an_imported_model_is_trained_further(shape, tmp_path):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    write_marian(tmp_path / "opus", **SHAPES[shape])
    import_marian(tmp_path / "opus", tmp_path / "imported")
    settings = ["training.steps=60", "training.learning_rate=0.003", "training.validate_every=60"]
    request = further(tmp_path, tmp_path / "imported", settings)
    outcome = train(request, silent())
    assert outcome.status == FINISHED
    assert outcome.scores["valid"]["loss"] < 3  # an untrained model has more than log(300) = 5.7
    assert Translator.load(tmp_path / "run").translate(["a b c"])
    assert train(request, silent()).status == FINISHED  # the same command again


def test_different_model_settings_are_refused(tmp_path):
    with pytest.raises(UserError, match="expected"):
        train(further(tmp_path, POST_NORM, ["model.d_ff=80"]), silent())


def test_a_missing_start_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        train(further(tmp_path, tmp_path / "missing"), silent())


def test_a_different_start_is_a_different_run(tmp_path):
    request = further(tmp_path, POST_NORM)
    train(request, silent())
    with pytest.raises(UserError, match="was started with start from"):
        train(dataclasses.replace(request, start_from=None), silent())


def test_the_start_is_not_overwritten(tmp_path):
    start = shutil.copytree(POST_NORM, tmp_path / "run" / "bundle").parent
    before = (start / "bundle" / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="--out"):
        train(dataclasses.replace(further(tmp_path, start), out=start), silent())
    assert (start / "bundle" / "model.safetensors").read_bytes() == before


def test_the_longest_source_of_the_start_is_kept(tmp_path):
    longest = load_bundle(POST_NORM).longest_source
    request = further(tmp_path, POST_NORM, ["data.max_length=3"])
    train(request, silent())
    assert load_bundle(tmp_path / "run").longest_source == longest


def test_the_default_budget(tmp_path):
    """Resolve the settings without training."""
    request = dataclasses.replace(further(tmp_path, POST_NORM), settings=["training.batch_tokens=400"])
    record = RunRecord(tmp_path / "run" / "run.json")
    config = resolve(request, record, torch.device("cpu"), Ranks(), print).config
    assert config.training.minutes == DEFAULT_MINUTES
    assert config.model == load_bundle(POST_NORM).config.model
    assert config.training.batch_tokens == 400


@pytest.mark.parametrize("role", ["start_from", "teacher"])
def test_a_bundle_is_read_once(role, tmp_path, monkeypatch):
    """A separate loop that measures the speed must not read the bundle again."""
    loads, loaded = [], resolving.load_bundle
    monkeypatch.setattr(resolving, "load_bundle", lambda path: loads.append(path) or loaded(path))
    tensors, read = [], bundles.read_tensors
    monkeypatch.setattr(bundles, "read_tensors", lambda path: tensors.append(path) or read(path))
    request = dataclasses.replace(
        toy_request(tmp_path / "text", tmp_path / "run"),
        recipe=None,
        settings=["training.minutes=0.05", *FURTHER[1:], *(TOY_SIZES if role == "teacher" else [])],
        **{role: POST_NORM},
    )
    assert train(request, silent()).status == FINISHED
    assert loads == [POST_NORM]
    assert [path for path in tensors if POST_NORM in path.parents] == [POST_NORM / "model.safetensors"]


def test_the_format_of_the_run_record(tmp_path):
    """Pin the format of run.json."""
    request = further(tmp_path, POST_NORM)
    train(request, silent())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts.keys() == {"asked", "config", "plan", "finished"}
    assert facts["asked"].keys() == {"train", "valid", "languages", "recipe", "settings", "start from"}
    assert facts["plan"].keys() == {
        *("steps", "warmup", "decay", "learning_rate", "validate_every", "average_every"),
        *("minutes", "budget", "turned_at", "turned_factor"),
    }
