"""Import of Sockeye's models: tiny models that it trained, with its own logits and translations stored beside them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from allyouneed.bundle import load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.sockeye import read_sockeye
from allyouneed.translation.translator import Translator

DATA = Path(__file__).parent / "data" / "sockeye"
CODES = Path(__file__).parent / "data" / "fairseq" / "bpecodes"
LIMIT = 18  # sockeye-translate --max-output-length
LANGUAGES = ("en", "de")


@pytest.mark.parametrize("name", ["default", "shapes"])
def test_logits_and_translations_are_sockeyes_own(name):
    bundle = read_sockeye([DATA / name], LANGUAGES)
    stored = json.loads((DATA / name / "expected.json").read_text(encoding="utf-8"))
    tokenizer = bundle.tokenizer
    for source, target, wanted in zip(stored["source"], stored["target"], stored["logits"], strict=False):
        ids = torch.tensor([[*tokenizer.encode(source), EOS]]), torch.tensor([[BOS, *tokenizer.target.encode(target)]])
        with torch.no_grad():
            torch.testing.assert_close(bundle.model(*ids)[0], torch.tensor(wanted), atol=1e-4, rtol=0)
    translator = Translator(bundle)
    options = {"length_penalty": 0, "repetition_guard": False, "max_decoding_length": LIMIT}
    for beam, texts in stored["beams"].items():
        found = translator.translate(stored["source"], beam_size=int(beam), **options)
        assert [each.text for each in found] == texts


def test_settings_and_segmentation(tmp_path):
    said = import_bundle("sockeye", [DATA / "shapes", CODES], tmp_path / "run", *LANGUAGES)
    assert "Text is segmented by BPE codes." in said
    bundle = load_bundle(tmp_path / "run")
    model = bundle.config.model
    assert (model.norm, model.norm_epsilon, model.positions, model.activation) == ("post", 1e-6, "learned", "swish")
    assert (model.num_heads, model.decoder_heads, model.d_ff, model.decoder_d_ff) == (2, 4, 12, 16)
    assert (model.tie_embeddings, model.attention_bias, model.output_bias) == ("target", False, True)
    stored = json.loads((DATA / "shapes" / "expected.json").read_text(encoding="utf-8"))
    ids = bundle.tokenizer.encode(stored["texts"][0])
    assert bundle.tokenizer.decode(ids) == stored["texts"][0]
    assert set(bundle.notes["SHA-256"]) == {"params.best", "config", "vocab.src.0.json", "vocab.trg.0.json", "bpecodes"}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("config", "use_lhuc: false", "use_lhuc: true", "layers have LHUC factors"),
        ("config", "use_glu: false", "use_glu: true", "networks are gated"),
        (
            "config",
            "decoder_type: transformer",
            "decoder_type: ssru_transformer",
            "should be 'transformer'",
        ),
        ("config", "factor_configs: null", "factor_configs:\n  - 1", "several factors"),
        ("config", "neural_vocab_selection: null", "neural_vocab_selection: eos", "selects the vocabulary"),
        ("config", "block_prepended_cross_attention: false", "block_prepended_cross_attention: true", "beginnings"),
        ("config", "postprocess_sequence: dr", "postprocess_sequence: drn", "only a norm before"),
        ("config", "act_type: relu", "act_type: tanh", "act_type = "),
        ("config", "attention_heads: 2", "attention_heads: 3", "fit together"),
        (
            "config",
            "attention_heads: 2",
            "attention_heads: many",
            "should be a valid integer",
        ),
        ("config", "num_layers: 1", "num_layers: 2", "is not 1, the layers of"),
        ("config", "config_encoder", "config_other", "config_encoder: field required"),
        ("config", "lhuc: false", "lhuc: [", "is not valid YAML"),
        ("vocab.src.0.json", '"h": 4', '"h": []', r"h = \[\]: input should be a valid integer"),
        ("vocab.src.0.json", '"h": 4', '"h": 40', "not a vocabulary of Sockeye"),
        ("vocab.trg.0.json", "{", "[", "not the expected JSON"),
        ("vocab.trg.0.json", "<unk>", "unknown", "no unknown token"),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path, name, old, new, message):
    folder = tmp_path / "model"
    shutil.copytree(DATA / "default", folder)
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_sockeye([folder], LANGUAGES)
    assert "\n" not in str(caught.value)


def test_other_weights_are_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(DATA / "default", folder)
    weights = torch.load(folder / "params.best")
    torch.save({**weights, "nvs.logit_output.weight": torch.zeros(2, 2)}, folder / "params.best")
    with pytest.raises(UserError, match=r"nvs\.logit_output\.weight belongs to a part"):
        read_sockeye([folder], LANGUAGES)
    (folder / "params.best").unlink()
    with pytest.raises(UserError, match="has no weights"):
        read_sockeye([folder], LANGUAGES)
    torch.save({**weights, "traced_encoder.x": torch.zeros(1)}, folder / "params.00002")
    read_sockeye([folder], LANGUAGES)
    (folder / "config").unlink()
    with pytest.raises(UserError, match=r"config: missing\. Give the folder"):
        read_sockeye([folder], LANGUAGES)
    with pytest.raises(UserError, match="names no languages"):
        read_sockeye([DATA / "default"])


class Hostile:
    """Creates a file when it is unpickled normally."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path):
    folder, victim = tmp_path / "model", tmp_path / "victim"
    shutil.copytree(DATA / "default", folder)
    torch.save({"x": Hostile(victim)}, folder / "params.best")
    with pytest.raises(UserError, match="could execute code"):
        read_sockeye([folder], LANGUAGES)
    assert not victim.exists()


def test_words_that_the_vocabulary_lacks_cannot_be_forced(tmp_path):
    translator = Translator(read_sockeye([DATA / "default"], LANGUAGES))
    with pytest.raises(UserError, match="zebra has a token that is not in the model's vocabulary"):
        translator.translate(["a"], force_words=["zebra"])
    with pytest.raises(UserError, match="target_prefix: zebra has a token"):
        translator.translate(["a"], target_prefix="zebra")
