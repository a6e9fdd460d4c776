"""`--start-from`: further training of our own or an imported translator."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil

import pytest
import torch
from rich.console import Console

from allyouneed import Translator, UserError
from allyouneed import bundle as bundles
from allyouneed.bundle import build_model, load_bundle, save_bundle, weights_of
from allyouneed.config import load_recipe
from allyouneed.exchange.importer import import_bundle
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.resolution import resolve as resolving
from allyouneed.training.resolution.further import remarks
from allyouneed.training.resolution.resolve import resolve
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.resolution.size import DEFAULT_MINUTES
from allyouneed.training.train import FINISHED, train
from tests.compat import POST_NORM
from tests.conftest import TOY, silent, toy_request
from tests.exchange.models import random_bundle
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
    import_bundle("marian", [tmp_path / "opus"], tmp_path / "imported")
    settings = ["training.steps=60", "training.learning_rate=0.003", "training.validate_every=60"]
    request = further(tmp_path, tmp_path / "imported", settings)
    outcome = train(request, silent())
    assert outcome.status == FINISHED
    assert outcome.scores["valid"]["loss"] < 3  # an untrained model has more than log(300) = 5.7
    assert Translator.load(tmp_path / "run").translate(["a b c"])
    assert train(request, silent()).status == FINISHED  # the same command again


FAIRSEQ = {
    **{"activation": "gelu", "embedding_norm": True, "scale_embeddings": False, "tie_embeddings": "inputs"},
    **{"sinusoid_frequencies": "tensor2tensor", "first_position": 2, "norm": "pre", "final_norm": False},
    **{"norm_epsilon": 1e-6, "decoder_d_ff": 64, "decoder_heads": 2, "feed_forward_bias": False},
}


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_model_of_another_shape_is_trained_further(plain, tmp_path):
    save_bundle(random_bundle(d_ff=48, num_heads=1, **FAIRSEQ), tmp_path / "start" / "bundle")
    request = further(tmp_path, tmp_path / "start", [f"training.plain={str(plain).lower()}", "model.dropout=0.1"])
    assert train(request, silent()).status == FINISHED
    before, after = load_bundle(tmp_path / "start"), load_bundle(tmp_path / "run")
    assert after.config.model == before.config.model.model_copy(update={"dropout": 0.1})
    changed = [
        name
        for name, weight in weights_of(after.model).items()
        if not torch.equal(weight, weights_of(before.model)[name])
    ]
    assert {"source_embedding.norm.weight", "decoder.layers.0.feed_forward.inner.weight", "output.weight"} <= set(
        changed
    )
    assert Translator.load(tmp_path / "run").translate(["a b c"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.d_ff=80", r"^model\.d_ff = 80, but .*format-2 has 64, and its model is kept\. Remove the setting"),
        ("model.encoder_layers=2", r"has 1, and its model is kept"),
        ("model.norm=pre", r"has post, and its model is kept"),
        ("model.tie_embeddings=false", r"has true, and its model is kept"),
        ("data.vocab_size=500", r"^data\.vocab_size = 500, but .*format-2 has \d+, and its vocabulary is kept"),
        ("data.subwords=unigram", r"^data\.subwords = unigram, but .*format-2 has bpe, and its vocabulary is kept"),
        ("data.character_coverage=1.0", r"^data\.character_coverage = 1\.0, but .* has 0\.9999"),
    ],
)
@pytest.mark.parametrize("given", ["--set", "recipe"])
def test_settings_that_the_start_fixes_are_refused_before_any_work(setting, message, given, tmp_path):
    request = further(tmp_path, POST_NORM, [setting] if given == "--set" else [])
    if given == "recipe":
        recipe, (section, _, rest) = tmp_path / "mine.toml", setting.partition(".")
        name, _, value = rest.partition("=")
        recipe.write_text(
            f"[{section}]\n{name} = {json.dumps(value) if value.isalpha() and value != 'false' else value}\n"
        )
        request = dataclasses.replace(request, recipe=str(recipe))
        message = message.replace("^", rf"^recipe {recipe}: ")
    with pytest.raises(UserError, match=message):
        train(request, silent())
    assert not (tmp_path / "run" / "data").exists()


def test_equal_settings_and_another_dropout_are_accepted(tmp_path):
    start = load_bundle(POST_NORM)
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[model]\nd_ff = 64\ndropout = 0.3\n[search]\nbeam_size = 2\n")
    same = ["model.d_model=32.0", "model.d_k=16", f"data.vocab_size={len(start.tokenizer)}", "data.subwords=bpe"]
    request = dataclasses.replace(further(tmp_path, POST_NORM, same), recipe=str(recipe))
    assert train(request, silent()).status == FINISHED
    config = load_bundle(tmp_path / "run").config
    assert config.model == start.config.model.model_copy(update={"dropout": 0.3})
    assert config.search.beam_size == 2
    assert config.data.vocab_size == len(start.tokenizer)


def test_a_recipe_of_the_package_gives_its_training_settings(tmp_path, capsys):
    request = dataclasses.replace(further(tmp_path, POST_NORM), recipe="fast")
    config = resolve(request, RunRecord(tmp_path / "run" / "run.json"), torch.device("cpu"), Ranks(), print).config
    assert f"recipe fast: model, vocabulary and search are those of {POST_NORM}" in capsys.readouterr().out
    assert config.model == load_bundle(POST_NORM).config.model
    assert config.training.optimizer == load_recipe("fast").training.optimizer == "muon"


def learned_start(folder, max_positions=60):
    """Write a bundle with learned positions."""
    start = load_bundle(POST_NORM)
    config = start.config.replace(
        model={"positions": "learned", "max_positions": max_positions},
        data={"max_length": 9},
        search={"max_extra_length": 50},
    )
    save_bundle(dataclasses.replace(start, config=config, model=build_model(config.model, start.tokenizer)), folder)
    return folder


def test_pairs_fit_the_learned_positions_of_the_start(tmp_path):
    """The paper's data.max_length = 256 is longer than this start's positions, and nobody asked for it."""
    start = learned_start(tmp_path / "start")
    for recipe in (None, "tiny"):
        request = dataclasses.replace(further(tmp_path, start), recipe=recipe)
        config = resolve(request, RunRecord(tmp_path / "run.json"), torch.device("cpu"), Ranks(), print).config
        assert config.data.max_length == 9
    with pytest.raises(UserError, match=r"data\.max_length = 10, but .* has 60 learned positions: at most 9"):
        train(further(tmp_path, start, ["data.max_length=10"]), silent())


@pytest.mark.parametrize(
    ("languages", "remark"),
    [
        (("aa", "bb"), None),
        (("AA", "bb_ZZ"), None),
        (("bb", "aa"), "translates aa → bb, this run trains bb → aa"),
        (("cc", "bb"), "was not trained on cc; its vocabulary is kept"),
    ],
)
def test_other_languages_are_remarked(languages, remark, tmp_path):
    start = dataclasses.replace(load_bundle(POST_NORM), languages=("aa", "bb"))
    request = dataclasses.replace(further(tmp_path, POST_NORM), languages=languages)
    lines = " ".join(remarks(request, start))
    assert remark in lines if remark else not lines


def shown_by(request) -> str:
    output = io.StringIO()
    train(request, Console(file=output, width=400))
    return output.getvalue()


def test_the_start_is_measured_and_kept_if_training_makes_it_worse(tmp_path):
    ruinous = ["training.learning_rate=0.5", "training.warmup=1", "training.bleu_sentences=30"]
    shown = shown_by(further(tmp_path, POST_NORM, ruinous))
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    first = next(record for record in records if record["event"] == "validation")
    assert (first["step"], first["bleu"] > 90) == (0, True)
    assert f"validation at step 0 (0.0 min): loss {first['loss']:.3f}" in shown
    assert re.search(
        rf"the start was better: BLEU {first['bleu']:.1f} against \d+\.\d; the bundle keeps the start's weights", shown
    )
    before, after = load_bundle(POST_NORM), load_bundle(tmp_path / "run")
    assert after.notes["weights"] == "the start"
    kept = weights_of(after.model)
    assert all(torch.equal(weight, kept[name]) for name, weight in weights_of(before.model).items())


def test_a_better_result_replaces_the_start(tmp_path):
    """Random weights are worse than anything; the loss decides where no BLEU is computed."""
    start = load_bundle(POST_NORM)
    torch.manual_seed(1)
    save_bundle(dataclasses.replace(start, model=build_model(start.config.model, start.tokenizer)), tmp_path / "start")
    settings = ["training.learning_rate=0.01", "training.bleu_sentences=0"]
    shown = shown_by(further(tmp_path, tmp_path / "start", settings))
    assert "validation at step 0" in shown
    assert "was better" not in shown
    assert load_bundle(tmp_path / "run").notes["weights"].startswith("average")


def test_a_missing_start_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        train(further(tmp_path, tmp_path / "missing"), silent())


def test_a_different_start_is_a_different_run(tmp_path):
    request = further(tmp_path, POST_NORM)
    train(request, silent())
    with pytest.raises(UserError, match=r"was started with --start-from = .*format-2, now none"):
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


@pytest.mark.parametrize(("role", "value"), [("start_from", POST_NORM), ("teachers", [POST_NORM])])
def test_a_bundle_is_read_once(role, value, tmp_path, monkeypatch):
    """A separate loop that measures the speed must not read the bundle again."""
    loads, loaded = [], resolving.load_bundle
    monkeypatch.setattr(resolving, "load_bundle", lambda path: loads.append(path) or loaded(path))
    tensors, read = [], bundles.read_tensors
    monkeypatch.setattr(bundles, "read_tensors", lambda path: tensors.append(path) or read(path))
    request = dataclasses.replace(
        toy_request(tmp_path / "text", tmp_path / "run"),
        recipe=None,
        settings=["training.minutes=0.05", *FURTHER[1:], *(TOY_SIZES if role == "teachers" else [])],
        **{role: value},
    )
    assert train(request, silent()).status == FINISHED
    assert loads == [POST_NORM]
    assert [path for path in tensors if POST_NORM in path.parents] == [POST_NORM / "model.safetensors"]


def test_the_format_of_the_run_record(tmp_path):
    """Pin the format of run.json."""
    request = further(tmp_path, POST_NORM)
    train(request, silent())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts.keys() == {
        *("asked", "base", "config", "files", "prepared", "micro_batches", "ranks", "plan", "finished", "checksum"),
        "arithmetic",
    }
    assert facts["asked"].keys() == {"train", "valid", "languages", "recipe", "settings", "start from"}
    assert facts["plan"].keys() == {
        *("steps", "warmup", "decay", "learning_rate", "validate_every", "average_every"),
        *("minutes", "budget", "turned_at", "turned_factor", "top", "validate_from"),
        *("validation_cost", "final_cost", "fixed"),
    }
