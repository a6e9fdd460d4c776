"""Drafts in bundles: the command, training, damaged tables, and translations that stay the same."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from allyouneed import Translator
from allyouneed.bundle import load_bundle, save_bundle
from allyouneed.errors import UserError
from allyouneed.training.train import train
from allyouneed.translation.draft_learning import store_drafts
from allyouneed.translation.draft_memory import learn_drafts, memory_of
from tests.conftest import silent, toy_pairs, toy_request

HOSTILE = ["", "🙂" * 30, "a " * 60, "\u202e\x07 zzz 123 ﷽", "h", "中文 a b", "</s> <s> <unk>", "𝕒" + "\u0301" * 20]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(f"{source}\n" for source, _ in toy_pairs(300)), encoding="utf-8")
    return path


def test_translations_stay_the_same(toy_run, tmp_path, text, monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.background.pending", lambda: False)  # earlier tests may have started it
    run = shutil.copytree(toy_run, tmp_path / "run")
    before = load_bundle(run)
    store_drafts(Translator.load(run), run, text, print)
    after = load_bundle(run)
    assert after.drafts
    assert replace(before, model=None, tokenizer=None) == replace(after, model=None, tokenizer=None, drafts={})
    for name, weight in before.model.named_parameters():
        assert torch.equal(weight, after.model.get_parameter(name))
    translator, plain = Translator.load(run), Translator.load(toy_run)
    for line in [source for source, _ in toy_pairs(60, seed=5)] + HOSTILE:
        for options in ({}, {"max_decoding_length": 3}, {"min_decoding_length": 5}, {"beam_size": 3}):
            options = {"beam_size": 1, **options}
            ours, theirs = translator.translate(line, drafts=True, **options), plain.translate(line, **options)
            assert (ours.text, ours.tokens, ours.log_probs) == (theirs.text, theirs.tokens, theirs.log_probs)
    alignments = [each.translate("a b", beam_size=1).alignment for each in (translator, plain)]
    assert alignments[0] == alignments[1]


def test_drafts_are_stored_after_a_kill_between_two_renames(toy_run, tmp_path, text, command):
    run = shutil.copytree(toy_run, tmp_path / "run")
    (run / "bundle").rename(run / "bundle.replaced")
    (run / "bundle.unfinished").mkdir()
    assert command("drafts", run, text)[0] == 0
    assert load_bundle(run).drafts
    assert not [path.name for path in run.glob("bundle.*")]


def test_the_commands(toy_run, tmp_path, text, command):
    run = shutil.copytree(toy_run, tmp_path / "run")
    code, _, log = command("drafts", run, text)
    assert code == 0
    assert "translated 300 of 300 lines" in log
    assert "stored drafts of" in log
    text.write_text("a b c\n", encoding="utf-8")
    code, out, _ = command("translate", run, text, "--beam-size", 1, "--drafts")
    assert (code, out) == command("translate", run, text, "--beam-size", 1, "--no-drafts")[:2]


def test_training_stores_drafts_of_large_models(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.loop.pays", lambda model: True)
    train(toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=2"]), silent())
    assert memory_of(load_bundle(tmp_path / "run"))


def test_a_short_text_is_refused(toy_run, tmp_path, command):
    text = tmp_path / "text"
    text.write_text("a b\n\n", encoding="utf-8")
    code, _, log = command("drafts", toy_run, text)
    assert code == 2
    assert f"{text}: 1 lines of text; drafts are learned from at least 100. Add text." in log


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tokens", lambda table: table + 10_000_000),
        ("tokens", lambda table: table.int()),
        ("starts", lambda table: table[:-1]),
        ("pair_starts", lambda table: table - 1),
        ("translation_starts", lambda table: table.flip(0)),
        ("p", lambda table: table[:-1]),
        ("rarity", lambda table: table[None]),
        ("frequency", lambda table: None),
        ("more", lambda table: torch.zeros(1)),
    ],
)
def test_tables_that_do_not_fit_are_refused(toy_run, tmp_path, name, change):
    bundle = load_bundle(toy_run)
    ids = [bundle.tokenizer.encode(source) for source, _ in toy_pairs(50)]
    tables = learn_drafts(bundle.tokenizer, ids, ids).tensors()
    changed = change(tables.get(name))
    tables = {each: table for each, table in {**tables, name: changed}.items() if table is not None}
    save_bundle(replace(bundle, drafts=tables), tmp_path / "bundle")
    with pytest.raises(UserError, match=r"drafts\.safetensors does not fit the vocabulary"):
        Translator.load(tmp_path / "bundle").translate("a b")


def test_large_texts_are_sampled_evenly(toy_run, monkeypatch):
    monkeypatch.setattr("allyouneed.translation.draft_memory.MAX_PAIRS", 3)
    tokenizer, text = load_bundle(toy_run).tokenizer, [[5], [6], [7], [8], [9]]
    frequency = learn_drafts(tokenizer, text, text).frequency
    assert [token for token in range(5, 10) if frequency[token]] == [5, 7, 9]
