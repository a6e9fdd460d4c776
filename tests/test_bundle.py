"""Bundles are loaded as saved, or refused with the name of the damaged file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from allyouneed import UserError
from allyouneed.bundle import FORMAT, find_bundle, load_bundle, save_bundle, weights_of
from allyouneed.files import read_tensors, tensor_bytes, write_folder
from allyouneed.json_text import to_json
from tests.compat import POST_NORM


def rewritten(folder: Path, name: str, change: Callable[[bytes], bytes | str]) -> Path:
    """Copy a bundle with one file changed and a matching manifest."""
    contents = {
        path.name: path.read_bytes() for path in find_bundle(POST_NORM).iterdir() if path.name != "manifest.json"
    }
    write_folder(folder, {**contents, name: change(contents[name])})
    return folder


def with_facts(**changed: object) -> Callable[[bytes], str]:
    return lambda content: to_json({**json.loads(content), **changed})


def test_a_saved_bundle_is_loaded(tmp_path):
    bundle = load_bundle(POST_NORM)
    bundle.scores, bundle.notes = {"valid": {"bleu": 37.123, "bleu_signature": "a|b"}}, {"teacher": "RUN"}
    bundle.samples = [{"source": "a b", "reference": "b a", "said": {}}]
    save_bundle(bundle, tmp_path / "run" / "bundle")
    again = load_bundle(tmp_path / "run")
    for name in ("config", "languages", "longest_source", "scores", "notes", "samples"):
        assert getattr(again, name) == getattr(bundle, name)
    assert again.tokenizer.model == bundle.tokenizer.model
    ours, theirs = weights_of(bundle.model), weights_of(again.model)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_the_model_card_has_languages_sizes_and_scores(tmp_path):
    bundle = load_bundle(POST_NORM)
    bundle.scores, bundle.notes = {"valid": {"bleu": 37.123, "bleu_signature": "a|b"}}, {"teacher": "RUN"}
    save_bundle(bundle, tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# aa → bb\n")
    assert f"d_model {bundle.config.model.d_model}, " in card
    for row in ("| valid bleu | 37.12 |", "| valid bleu_signature | a\\|b |", "| teacher | RUN |"):
        assert row in card.splitlines()


def test_few_parameters_are_counted_in_full():
    bundle = load_bundle(POST_NORM)
    assert bundle.described() == f"1 + 1 layers, d_model 32, {bundle.model.num_parameters():,} parameters"


def test_a_newer_format_is_refused(tmp_path):
    folder = rewritten(tmp_path / "later", "config.json", with_facts(format=FORMAT + 1))
    with pytest.raises(UserError, match=f"format {FORMAT + 1} is newer than this version supports .*Upgrade"):
        load_bundle(folder)


@pytest.mark.parametrize("value", ["2", None, [2]])
def test_an_invalid_format_is_refused(tmp_path, value):
    folder = rewritten(tmp_path / "odd", "config.json", with_facts(format=value))
    with pytest.raises(
        UserError, match=r"config\.json: format = .*: input should be a valid integer\. Download the bundle again"
    ):
        load_bundle(folder)


def test_parts_of_different_bundles_are_refused(tmp_path):
    size = len(load_bundle(POST_NORM).tokenizer)
    folder = rewritten(tmp_path / "words", "config.json", with_facts(vocab_size=size + 1))
    with pytest.raises(UserError, match=f"tokenizer has {size} tokens, but the model {size + 1}"):
        load_bundle(folder)
    tensors = read_tensors(find_bundle(POST_NORM) / "model.safetensors")
    first, *others = sorted(tensors)
    fewer = tensor_bytes({name: tensors[name] for name in others})
    with pytest.raises(UserError, match=rf"does not match its settings: only one of them has {first}\."):
        load_bundle(rewritten(tmp_path / "fewer", "model.safetensors", lambda _: fewer))
    with pytest.raises(UserError, match=rf"only one of them has {', '.join(sorted(tensors)[:3])}, \.\.\.\."):
        load_bundle(rewritten(tmp_path / "none", "model.safetensors", lambda _: tensor_bytes({})))
    wider = tensor_bytes({**tensors, first: tensors[first].new_zeros(1, 2, 3)})
    with pytest.raises(UserError, match=rf"{first} is \[1, 2, 3\], expected "):
        load_bundle(rewritten(tmp_path / "wider", "model.safetensors", lambda _: wider))


def test_missing_facts_are_refused(tmp_path):
    less = rewritten(tmp_path / "less", "config.json", lambda _: '{"format": 2}')
    with pytest.raises(UserError, match=r"config\.json: languages: field required\. Download"):
        load_bundle(less)
    listed = rewritten(tmp_path / "listed", "samples.json", lambda _: "[]")
    with pytest.raises(UserError, match=r"samples\.json: content = \[\]: input should be a valid dictionary"):
        load_bundle(listed)


def test_the_bundle_that_was_being_replaced_is_found(tmp_path):
    shutil.copytree(POST_NORM, tmp_path / "run" / "bundle.replaced")
    (tmp_path / "run" / "bundle.unfinished").mkdir()
    for path in (tmp_path / "run", tmp_path / "run" / "bundle"):
        assert find_bundle(path) == tmp_path / "run" / "bundle.replaced"
    bundle = load_bundle(tmp_path / "run")
    save_bundle(bundle, tmp_path / "run" / "bundle")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["bundle"]


def test_a_run_without_a_bundle(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="no bundle yet"):
        find_bundle(tmp_path)
    with pytest.raises(UserError, match="neither a RUN nor a bundle"):
        find_bundle(tmp_path / "run.json")
