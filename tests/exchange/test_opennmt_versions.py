"""Checkpoints of OpenNMT-py 0 to 2, whose vocabularies are objects of torchtext, of types with those names here."""

from __future__ import annotations

import argparse
import sys
from itertools import accumulate
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from allyouneed import UserError
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.opennmt_py import read_opennmt_py
from tests.exchange.test_opennmt_joeynmt import HEADS, TOKENS, check, tensors_of

VOCABULARY, FIELD = "torchtext.vocab.Vocab", "torchtext.data.field.Field"
MULTIPLE = "onmt.inputters.text_dataset.TextMultiField"


@pytest.fixture
def make(monkeypatch):
    """Return a function that makes an object of a type of another program, by its full name."""

    def made(name: str, **attributes):
        module, _, last = name.rpartition(".")
        for whole in accumulate(module.split("."), "{}.{}".format):
            if whole not in sys.modules:
                monkeypatch.setitem(sys.modules, whole, ModuleType(whole))
        if not hasattr(sys.modules[module], last):
            setattr(sys.modules[module], last, type(last, (), {"__module__": module}))
        created = getattr(sys.modules[module], last)()
        created.__dict__.update(attributes)
        return created

    return made


def field(make, side: str, **attributes):
    itos = TOKENS["opennmt"]
    vocabulary = make(VOCABULARY, itos=itos, stoi={name: row for row, name in enumerate(itos)}, vectors=None)
    return make(FIELD, vocab=vocabulary, dtype=torch.int64, sequential=True, **{"lower": False, **attributes})


def vocabularies(make, version: str):
    if version == "0.8 with features":
        return {side: [(side, field(make, side)), ("pos", field(make, side))] for side in ("src", "tgt")}
    if version == "2.3 in lower case":
        return {side: make(MULTIPLE, fields=[(side, field(make, side, lower=True))]) for side in ("src", "tgt")}
    if version == "0.2":  # pairs of a name and a vocabulary
        return [(side, field(make, side).vocab) for side in ("src", "tgt")]
    if version == "0.8":
        return {side: [(side, field(make, side))] for side in ("src", "tgt")}
    return {side: make(MULTIPLE, fields=[(side, field(make, side))]) for side in ("src", "tgt")}


def write(make, path, version: str, tensors: dict, **options) -> None:
    old = version == "0.2"
    model, generator = {}, {}
    for name, tensor in tensors.items():
        if name.startswith("generator."):
            generator[name.replace("generator.", "0.")] = tensor
        elif old and "norm" in name:
            model[name.replace(".weight", ".a_2").replace(".bias", ".b_2")] = tensor
        else:
            model[name] = tensor
    if old:
        model["decoder.transformer_layers.0.mask"] = torch.ones(1, 9, 9, dtype=torch.uint8).triu(1)
    opt = {"encoder_type": "transformer", "decoder_type": "transformer", "heads": HEADS, "position_encoding": True}
    opt |= {"generator_function": "log_softmax"} if old else {"generator_function": "softmax"}
    stored = {"model": model, "generator": generator, "vocab": vocabularies(make, version)}
    stored |= {"opt": argparse.Namespace(**opt, **options), "optim": {}}
    torch.save(stored, path, _use_new_zipfile_serialization=not version.startswith("0"))


@pytest.mark.parametrize("version", ["0.2", "0.8", "2.3"])
def test_versions(version, make, tmp_path):
    tensors = tensors_of("opennmt")
    write(make, tmp_path / "model.pt", version, tensors)
    import_bundle("opennmt-py", [tmp_path / "model.pt"], tmp_path / "run", "de", "en")
    check("opennmt", tensors, tmp_path / "run", end=False, epsilon=1e-6, activation=F.relu)


@pytest.mark.parametrize("version", ["0.8 with features", "2.3 in lower case"])
def test_other_texts_are_refused(version, make, tmp_path):
    write(make, tmp_path / "model.pt", version, tensors_of("opennmt"))
    with pytest.raises(UserError, match=version.rpartition(" ")[2]):
        read_opennmt_py([tmp_path / "model.pt"], ("de", "en"))
