"""Import of fairseq's models: tiny models that it trained, with its own logits and translations stored beside them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.export import ctranslate2_translator, export_ctranslate2
from allyouneed.exchange.fairseq.importer import read_fairseq
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.reading.position_tables import Sinusoids
from allyouneed.translation.translator import Translator

DATA = Path(__file__).parents[1] / "data" / "fairseq"
EXTRA = 11  # fairseq's limit with --max-len-a 1 --max-len-b 10, which counts the source's end token


def paths_of(folder: Path) -> list[Path]:
    return [folder / "model.pt", folder / "dict.en.txt", folder / "dict.de.txt", DATA / "bpecodes"]


def expected(name: str) -> dict[str, Any]:
    return json.loads((DATA / name / "expected.json").read_text(encoding="utf-8"))


def load(folder: Path) -> dict[str, Any]:
    """What fairseq stored: these files are ours, so they may be unpickled."""
    return torch.load(folder / "model.pt", weights_only=False)


def changed(tmp_path: Path, name: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> list[Path]:
    """Copy a model with another checkpoint: `change` gets its settings and its tensors."""
    folder = tmp_path / "changed"
    shutil.copytree(DATA / name, folder, dirs_exist_ok=True)
    checkpoint = load(folder)
    settings = vars(checkpoint["args"] or checkpoint["cfg"]["model"])
    change(settings, checkpoint["model"])
    torch.save(checkpoint, folder / "model.pt")
    return paths_of(folder)


def logits(bundle: Bundle, source: str, target: str) -> Tensor:
    """Logits of the target's tokens, in the order of fairseq's dictionary."""
    tokenizer = bundle.tokenizer
    source_ids = [*tokenizer._ids_of(source.split()), EOS]
    target_ids = [BOS, *tokenizer.target._ids_of(target.split())]
    with torch.no_grad():
        found = bundle.model(torch.tensor([source_ids]), torch.tensor([target_ids]))[0]
    return found[:, [4, 0, 3, 1, *range(5, found.shape[1])]]


def check_logits(bundle: Bundle, name: str) -> None:
    stored = expected(name)
    for source, target, wanted in zip(stored["source"], stored["target"], stored["logits"], strict=False):
        torch.testing.assert_close(logits(bundle, source, target), torch.tensor(wanted), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Both models, imported."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("post", "learned"):
        import_bundle("fairseq", paths_of(DATA / name), folder / name)
    return {name: folder / name for name in ("post", "learned")}


@pytest.mark.parametrize("name", ["post", "learned"])
def test_logits_and_translations_are_fairseqs_own(runs, name):
    bundle = load_bundle(runs[name])
    check_logits(bundle, name)
    stored = expected(name)
    bundle.config = bundle.config.replace(search={"max_extra_length": EXTRA})
    translator = Translator(bundle)
    for beam, texts in stored["beams"].items():
        found = translator.translate(stored["texts"], beam_size=int(beam), length_penalty=0, repetition_guard=False)
        assert [each.text for each in found] == texts


def test_settings_and_origin_are_recorded(runs):
    post, learned = load_bundle(runs["post"]), load_bundle(runs["learned"])
    assert post.languages == ("en", "de")
    assert post.config.model.tie_embeddings is True
    assert (post.config.model.sinusoid_frequencies, post.config.model.first_position) == ("tensor2tensor", 2)
    model = learned.config.model
    assert (model.norm, model.positions, model.max_positions, model.activation) == ("pre", "learned", 40, "gelu")
    assert (model.tie_embeddings, model.embedding_norm, model.scale_embeddings) == ("target", True, False)
    assert (model.num_heads, model.decoder_heads, model.d_ff, model.decoder_d_ff) == (2, 4, 12, 16)
    assert set(post.notes["SHA-256"]) == {"model.pt", "dict.en.txt", "dict.de.txt", "bpecodes"}
    assert post.notes["remarks"] == "Text is segmented by BPE codes."


def test_a_folder_and_an_archive_are_read(tmp_path, runs):
    folder = tmp_path / "wmt.ensemble"
    shutil.copytree(DATA / "post", folder)
    shutil.copy(DATA / "bpecodes", folder)
    shutil.copy(folder / "model.pt", folder / "model2.pt")
    (folder / "README.md").write_text("A model.")
    with tarfile.open(tmp_path / "wmt.tar.gz", "w:gz") as archive:
        archive.add(folder, "wmt.ensemble")
    for number, path in enumerate((folder, tmp_path / "wmt.tar.gz")):
        said = import_bundle("fairseq", [path], tmp_path / f"run{number}")
        assert "model.pt was imported, one of 2 checkpoints (model2.pt)" in said
        bundle = load_bundle(tmp_path / f"run{number}")
        assert bundle.tokenizer.files() == load_bundle(runs["post"]).tokenizer.files()
        check_logits(bundle, "post")


def test_without_codes_text_is_tokens(tmp_path):
    said = import_bundle("fairseq", paths_of(DATA / "learned")[:3], tmp_path / "run", "fr", "ko")
    assert "text in and out is tokens separated by spaces" in said
    bundle = load_bundle(tmp_path / "run")
    assert bundle.languages == ("fr", "ko")
    stored = expected("learned")
    ids = bundle.tokenizer.encode(stored["source"][0])
    assert bundle.tokenizer.decode(ids) == stored["source"][0]
    assert bundle.tokenizer.encode("nothing") == [1]


def test_tensors_of_old_versions_are_read(tmp_path):
    def make_old(settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if "self_attn.q_proj" in name]:
            parts = [tensors.pop(name.replace("q_proj", linear)) for linear in ("q_proj", "k_proj", "v_proj")]
            tensors[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        for side, norms in (("encoder", ("self_attn", "final")), ("decoder", ("self_attn", "encoder_attn", "final"))):
            for number, norm in enumerate(norms):
                for part in ("weight", "bias"):
                    old = tensors.pop(f"{side}.layers.0.{norm}_layer_norm.{part}")
                    tensors[f"{side}.layers.0.layer_norms.{number}.{part}"] = old
            tensors[f"{side}.embed_positions._float_tensor"] = torch.zeros(1)
            del tensors[f"{side}.version"]
        del tensors["decoder.output_projection.weight"]
        for name in ("activation_fn", "layernorm_embedding", "no_scale_embedding", "max_source_positions"):
            settings.pop(name)

    import_bundle("fairseq", changed(tmp_path, "post", make_old), tmp_path / "run")
    check_logits(load_bundle(tmp_path / "run"), "post")


def test_pruned_layers_are_left_out(tmp_path):
    def prune(settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("encoder.layers.0.")]:
            tensors[name.replace(".0.", ".2.", 1)] = tensors[name]
            tensors[name.replace(".0.", ".3.", 1)] = torch.randn_like(tensors[name])
            tensors[name] = torch.randn_like(tensors[name])
        settings |= {"encoder_layers": 4, "encoder_layers_to_keep": "2"}

    import_bundle("fairseq", changed(tmp_path, "post", prune), tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    assert bundle.config.model.encoder_layers == 1
    check_logits(bundle, "post")


def test_sinusoids_of_one_side_and_no_positions(tmp_path):
    def learn_encoder(settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        table = Sinusoids("tensor2tensor", 2, True).table(30, 8) + 1e-5  # exact sinusoids would be recognised
        tensors["encoder.embed_positions.weight"] = torch.cat([torch.zeros(2, 8), table])
        settings["encoder_learned_pos"] = True

    import_bundle("fairseq", changed(tmp_path, "post", learn_encoder), tmp_path / "mixed")
    mixed = load_bundle(tmp_path / "mixed")
    assert (mixed.config.model.positions, mixed.config.model.max_positions) == ("learned", 30)
    check_logits(mixed, "post")

    def remove(settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        settings["no_token_positional_embeddings"] = True

    import_bundle("fairseq", changed(tmp_path, "post", remove), tmp_path / "none")
    model = load_bundle(tmp_path / "none").model
    assert model.source_embedding.positions is not None
    assert not model.source_embedding.positions.any()


def set_to(**values: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda settings, tensors: settings.update(values)


def without(name: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda settings, tensors: tensors.pop(name)


def with_tensor(name: str, tensor: Tensor) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda settings, tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to(adaptive_softmax_cutoff="1000,2000"), "adaptive_softmax_cutoff is set"),
        (set_to(no_cross_attention=True), "no_cross_attention is set"),
        (set_to(cross_self_attention=True), "cross_self_attention is set"),
        (set_to(quant_noise_scalar=0.5), "quant_noise_scalar is set"),
        (set_to(arch="lightconv_iwslt_de_en"), "arch = lightconv_iwslt_de_en"),
        (set_to(task="multilingual_translation"), "task = multilingual_translation"),
        (set_to(user_dir="/code"), "user_dir is set"),
        (set_to(activation_fn="tanh"), "activation_fn = tanh"),
        (set_to(encoder_normalize_before=True), "encoder_normalize_before = True and decoder_normalize_before = False"),
        (
            set_to(encoder_normalize_before=True, decoder_normalize_before=True),
            r"encoder\.layer_norm\.weight is missing",
        ),
        (set_to(decoder_input_dim=16), "decoder_input_dim = 16 differs"),
        (set_to(encoder_layers=3), "encoder_layers = 3, but the file has 1"),
        (set_to(encoder_layers="many"), "encoder_layers = many is not a positive whole number"),
        (set_to(encoder_layers_to_keep="a,b"), "encoder_layers_to_keep is not a list"),
        (set_to(encoder_attention_heads=3), "not divisible"),
        (set_to(layernorm_embedding=True), r"no tensor encoder\.layernorm_embedding\.weight"),
        (set_to(encoder_learned_pos=True), r"no tensor encoder\.embed_positions\.weight"),
        (set_to(share_all_embeddings=False, share_decoder_input_output_embed=False), None),
        (without("decoder.layers.0.fc2.weight"), r"no tensor decoder\.layers\.0\.fc2\.weight"),
        (
            with_tensor("encoder.quant_noise.weight", torch.zeros(8, 8)),
            r"encoder\.quant_noise\.weight belongs to a part",
        ),
        (with_tensor("decoder.layers.0.fc2.weight", torch.zeros(8, 13)), r"decoder.*fc2|feed_forward"),
        (with_tensor("decoder.layers.0.fc2.bias", torch.zeros(8, dtype=torch.int64)), "not a float type"),
        (with_tensor("encoder.layers.0.fc1.bias", torch.full((12,), torch.nan)), "not finite"),
        (with_tensor("encoder.embed_tokens.weight", torch.zeros(3, 8)), "differ, but the settings share them"),
        (with_tensor("encoder.embed_tokens.weight", torch.tensor(1.0)), "differ|fit together"),
        (with_tensor("decoder.output_projection.weight", torch.zeros(1)), "differ, but the settings share them"),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path, change, message):
    paths = changed(tmp_path, "post", change)
    if message is None:  # separate settings with equal matrices are read as such
        check_logits(read_fairseq(paths), "post")
        return
    with pytest.raises(UserError, match=message) as caught:
        read_fairseq(paths)
    assert "\n" not in str(caught.value)


class Hostile:
    """Creates a file when it is unpickled normally."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_hostile_checkpoint_is_refused_and_not_executed(tmp_path):
    victim = tmp_path / "victim"
    paths = changed(tmp_path, "learned", set_to(arch=Hostile(victim)))
    with pytest.raises(UserError, match="could execute code; nothing was loaded"):
        import_bundle("fairseq", paths, tmp_path / "run")
    assert not victim.exists()


@pytest.mark.parametrize(
    "content", [{"model": {}}, {"args": argparse.Namespace(), "model": {"a": torch.ones(1)}}, [1], {}]
)
def test_other_checkpoints_are_refused(tmp_path, content):
    shutil.copytree(DATA / "post", tmp_path / "other")
    torch.save(content, tmp_path / "other" / "model.pt")
    with pytest.raises(UserError, match=r"not a checkpoint of fairseq|has no settings"):
        read_fairseq([tmp_path / "other"])


def test_an_export_to_ctranslate2_names_the_tokens_of_fairseq(tmp_path, runs):
    pytest.importorskip("ctranslate2")
    bundle = load_bundle(runs["post"])
    export_ctranslate2(bundle, tmp_path / "ct2")
    vocabulary = json.loads((tmp_path / "ct2" / "shared_vocabulary.json").read_text(encoding="utf-8"))
    assert vocabulary == bundle.tokenizer.vocabulary.names
    texts = expected("post")["texts"]
    found = Translator(bundle).translate(texts, beam_size=4, length_penalty=0, repetition_guard=False)
    assert ctranslate2_translator(tmp_path / "ct2", bundle)(texts, 4) == [each.tokens for each in found]
