"""Tiny models that OpenNMT-py, Eole and Joey NMT trained, with their own logits and translations stored beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from allyouneed.bundle import load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS, UNK
from allyouneed.exchange.importer import import_bundle
from allyouneed.translation.translator import Translator

DATA = Path(__file__).parent / "data"
MODELS = [
    ("opennmt-py", "opennmt-py/model.pt"),
    ("eole", "eole"),
    ("joeynmt", "joeynmt-pre"),
    ("joeynmt", "joeynmt-post"),
]


@pytest.mark.parametrize(("system", "model"), MODELS, ids=[model for _, model in MODELS])
def test_logits_and_translations_are_the_systems_own(system, model, tmp_path):
    if system == "joeynmt":
        pytest.importorskip("yaml", reason="the package pyyaml is not installed")
    said = import_bundle(system, [DATA / model], tmp_path / "run", "en", "de")
    assert "tokens separated by spaces" in said
    folder = DATA / model.split("/")[0]
    stored = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    translator = Translator(load_bundle(tmp_path / "run"))
    tokenizer = translator.bundle.tokenizer
    rows = {name: row for row, name in enumerate(stored["itos"])}
    names = {column: name for column, name in enumerate(tokenizer.target.vocabulary.names) if name in rows}
    for row in filter(lambda row: "logits" in row, stored["rows"]):
        ids = torch.tensor([[*tokenizer.encode(row["source"]), EOS]])
        target = torch.tensor([[BOS, *tokenizer.target.encode(row["target"])]])
        assert UNK not in torch.cat([ids, target], dim=1)
        with torch.inference_mode():
            ours = translator.bundle.model(ids, target)[0]
        theirs = torch.tensor(row["logits"])[:, [rows[name] for name in names.values()]]
        torch.testing.assert_close(ours[:, list(names)], theirs, atol=1e-4, rtol=0)
    limit = {"max_decoding_length": stored["limit"]} if stored["limit"] else {}
    for beam in (1, 4):
        options = {"length_penalty": 0, "repetition_guard": False, **limit}
        found = translator.translate([row["source"] for row in stored["rows"]], beam_size=beam, **options)
        assert [each.text for each in found] == [row[f"beam{beam}"] for row in stored["rows"]]
