"""Import of Marian's own format: compared with stored results of Marian, and refused where it cannot be represented."""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.data.tokens.vocabulary import ADDED
from allyouneed.errors import UserError
from allyouneed.exchange import import_bundle
from allyouneed.exchange.hugging_face.export import vocabulary_of
from allyouneed.exchange.marian_native.model_file import read_model
from allyouneed.exchange.marian_native.vocabulary_file import read_vocabulary
from allyouneed.translation.translator import Translator

DATA = Path(__file__).parent / "data" / "marian"
GOLDEN = json.loads((DATA / "golden.json").read_text(encoding="utf-8"))
KINDS = ("transformer", "transformer-new")
LANGUAGES = ("de", "en")


def imported(run: Path, *paths: Path) -> Path:
    import_bundle("marian", paths, run, *LANGUAGES)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("marian")
    return {kind: imported(folder / kind, DATA / f"{kind}.npz", DATA / "vocab.yml") for kind in KINDS}


def scores_of(bundle: Bundle, source: str, target: str) -> torch.Tensor:
    """Log probabilities of the target's tokens and end, without the tokens that Marian does not have."""
    target_ids = [*bundle.tokenizer.target.encode(target), EOS]
    rows = torch.tensor([[*bundle.tokenizer.encode(source), EOS]]), torch.tensor([[BOS, *target_ids[:-1]]])
    with torch.no_grad():
        logits = bundle.model.eval()(*rows)[0]
    logits[:, [PAD, BOS]] = -torch.inf
    return logits.log_softmax(dim=-1)[range(len(target_ids)), target_ids]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_marian(runs, kind):
    bundle = load_bundle(runs[kind])
    for source, target, scores in zip(GOLDEN["sources"], GOLDEN["targets"], GOLDEN[kind]["scores"], strict=True):
        torch.testing.assert_close(scores_of(bundle, source, target), torch.tensor(scores), atol=1e-4, rtol=0)


@pytest.mark.parametrize("search", ["1", "4", "4, normalize 1"])
@pytest.mark.parametrize("kind", KINDS)
def test_translations_are_those_of_marian(runs, kind, search):
    """Except those that never end, and those for which Marian, whose beam shrinks, finds only a worse one."""
    translator = Translator.load(runs[kind])
    assert translator.bundle.config.search.length_offset == 0
    alpha = float("normalize" in search)
    options = {"beam_size": int(search[0]), "length_penalty": alpha, "repetition_guard": False}
    better = 0
    for found, marian in zip(
        translator.translate(GOLDEN["sources"], **options), GOLDEN[kind]["translations"][search], strict=True
    ):
        if len(marian.split()) >= 3 * (len(found.source.split()) + 1) or found.text == marian:
            continue
        scores = scores_of(translator.bundle, found.source, marian)
        assert found.score > scores.sum() / len(scores) ** alpha, (found.source, found.text, marian)
        better += 1
    assert better <= (search != "1")


def test_a_quantised_file_has_nearly_the_same_weights(tmp_path):
    with (DATA / "transformer.npz").open("rb") as exact, (DATA / "transformer.intgemm8.bin").open("rb") as rounded:
        exact, rounded = read_model(exact, "a.npz"), read_model(rounded, "a.bin")
    assert (exact.types, rounded.types) == ({"float32"}, {"float32", "intgemm8"})
    assert exact.tensors.keys() == rounded.tensors.keys()
    for name, values in exact.tensors.items():
        np.testing.assert_allclose(
            rounded.tensors[name], values, atol=np.abs(values).max() / 127 / 2 + 1e-6, err_msg=name
        )
    run = imported(tmp_path / "run", DATA / "transformer.intgemm8.bin", DATA / "vocab.yml")
    assert load_bundle(run).notes["format"] == "Marian, weights in float32, intgemm8"


def test_a_folder_and_an_archive_with_decoder_settings(tmp_path):
    folder = tmp_path / "opus"
    folder.mkdir()
    shutil.copy(DATA / "transformer.npz", folder / "model.npz")
    shutil.copy(DATA / "vocab.yml", folder / "opus.vocab.yml")
    (folder / "README.md").write_text(
        "# opus\n* source language(s): deu\n* target language(s): eng\n", encoding="utf-8"
    )
    (folder / "decoder.yml").write_text(
        "models:\n  - /home/somebody/model.npz\nvocabs:\n  - /x/opus.vocab.yml\n  - opus.vocab.yml\n"
        "beam-size: 6\nnormalize: 1\nword-penalty: 0\nmini-batch: 1\nshortlist:\n  - lex.s2t\n  - 50\n",
        encoding="utf-8",
    )
    archive = tmp_path / "opus.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.iterdir():
            file.write(path, f"opus/{path.name}")
    for index, path in enumerate((folder, archive)):
        report = import_bundle("marian", [path], tmp_path / f"run{index}")
        assert "shortlist" in report
        assert "separated by spaces" in report
        bundle = load_bundle(tmp_path / f"run{index}")
        search = bundle.config.search
        assert bundle.languages == LANGUAGES
        assert (search.beam_size, search.length_penalty, search.length_offset) == (6, 1.0, 0.0)
        assert set(bundle.notes["SHA-256"]) == {"model.npz", "opus.vocab.yml"}


@pytest.mark.parametrize("models", ["{a: b}", "[[a]]", "[{a: b}]"])
def test_settings_of_the_decoder_are_typed(models, tmp_path):
    shutil.copy(DATA / "transformer.npz", tmp_path / "model.npz")
    (tmp_path / "decoder.yml").write_text(f"models: {models}\n")
    with pytest.raises(UserError, match=r"decoder\.yml: models.* = .*should be a valid"):
        import_bundle("marian", [tmp_path], tmp_path / "run", *LANGUAGES)


def test_the_decoder_starts_from_zeros(runs):
    embedding = load_bundle(runs["transformer"]).model.target_embedding.tokens.weight
    assert not embedding[[PAD, BOS]].any()
    assert embedding[EOS].any()


def changed(folder: Path, changes: dict[str, object], extra: dict[str, np.ndarray] | None = None) -> Path:
    """Write the model with other options; an option of None is removed."""
    arrays = dict(np.load(DATA / "transformer.npz")) | (extra or {})
    text = arrays["special:model.yml"].tobytes().rstrip(b"\0").decode()
    for option, value in changes.items():
        lines = text.split("\n")
        start = next((i for i, line in enumerate(lines) if line.startswith(f"{option}:")), len(lines))
        end = start + 1
        while end < len(lines) and lines[end].startswith(" "):
            end += 1
        lines[start:end] = [] if value is None else [f"{option}: {value}"]
        text = "\n".join(lines)
    arrays["special:model.yml"] = np.frombuffer(text.encode() + b"\0", np.int8)
    path = folder / "model.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "s2s"}, "type = s2s: only models of type transformer are imported."),
        (
            {"transformer-decoder-autoreg": "rnn"},
            "transformer-decoder-autoreg = rnn: the model has a recurrent decoder",
        ),
        ({"transformer-decoder-autoreg": "average-attention"}, "the model has an average attention network"),
        ({"transformer-ffn-depth": "3"}, "transformer-ffn-depth = 3: feed-forward networks have 2 layers here."),
        ({"transformer-postprocess": "dar"}, "transformer-postprocess = 'ar' (without d) is not supported"),
        ({"transformer-preprocess": "n"}, "transformer-preprocess = 'n' with transformer-postprocess = 'an'"),
        ({"transformer-postprocess-top": "an"}, "transformer-postprocess-top = 'an' is not supported"),
        ({"transformer-ffn-activation": "sigmoid"}, "transformer-ffn-activation = sigmoid is not supported; relu, "),
        ({"right-left": "true"}, "right-left = true is not supported."),
        ({"lemma-dim-emb": "32"}, "lemma-dim-emb = 32 is not supported."),
        ({"transformer-attention-mask": "alibi"}, "transformer-attention-mask = alibi is not supported."),
        ({"input-types": "[class, sequence]"}, "input-types = ['class', 'sequence'] is not supported."),
        ({"something-new": "7"}, "something-new = 7 is not supported."),
        ({"dim-emb": "x"}, "dim-emb = x is not a whole number."),
        ({"dim-emb": None}, "dim-emb is missing or no single value."),
        ({"dim-vocabs": "[22, 22, 22]"}, "dim-vocabs has 3 vocabularies"),
        (
            {"transformer-tied-layers": "[1]"},
            "transformer-tied-layers does not give one layer for each of dec-depth = 2.",
        ),
        ({"enc-depth": "2"}, "has no tensor encoder_l2_self_Wq."),
        ({"dim-emb": "32"}, "which does not fit dim-emb = 32."),
        ({"dim-vocabs": "[22, 30]"}, "decoder_Wemb has 22 rows, dim-vocabs 30."),
        ({"transformer-heads": "5"}, "model.d_model = 16 is not divisible by model.num_heads = 5"),
        ({"enc-depth": "100000"}, "encoder_layers = 100000"),
        (
            {"transformer-preprocess": "n", "transformer-postprocess": "da", "version": "v1.9.0 abc"},
            "transformer-preprocess = n with version v1.9.0 abc: before 1.11",
        ),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path, changes, message):
    path = changed(tmp_path, changes)
    with pytest.raises(UserError) as caught:
        imported(tmp_path / "run", path, DATA / "vocab.yml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "bundle").exists()


def test_unknown_tensors_are_refused_and_scales_of_activations_are_not(tmp_path):
    scale = {"decoder_l1_self_Wq_QuantMultA": np.ones((1, 1), np.float32)}
    assert imported(tmp_path / "run", changed(tmp_path, {}, scale), DATA / "vocab.yml")
    path = changed(tmp_path, {}, {"decoder_l1_gate_W": np.ones((2, 2), np.float32)})
    with pytest.raises(UserError, match="has tensors that are not known and could matter: decoder_l1_gate_W"):
        imported(tmp_path / "other", path, DATA / "vocab.yml")


def test_gelu_depends_on_the_version(tmp_path):
    for version, activation in (("v1.12.2 abc", "gelu_sigmoid"), ("v1.12.3 abc", "gelu")):
        run = imported(tmp_path / activation, changed(tmp_path, {"version": version}), DATA / "vocab.yml")
        assert load_bundle(run).config.model.activation == activation


def test_damaged_files_are_refused(tmp_path):
    generator = np.random.default_rng(3)
    for name in ("transformer.npz", "transformer.intgemm8.bin"):
        content = (DATA / name).read_bytes()
        path = tmp_path / name
        for number in range(120):
            damaged = bytearray(content[: generator.integers(len(content))] if number % 2 else content)
            for position in generator.integers(min(len(damaged), 9000) or 1, size=4 * (number % 2 == 0)):
                damaged[position] = generator.integers(256)
            path.write_bytes(damaged)
            with contextlib.suppress(UserError), path.open("rb") as file:
                read_model(file, name)


def test_padding_becomes_the_last_row_in_an_export_for_transformers(runs):
    vocabulary = vocabulary_of(load_bundle(runs["transformer"]).tokenizer)
    assert vocabulary.rows[PAD] == len(vocabulary.names) - 2  # after all others; the start token has no row
    assert sorted(vocabulary.rows) == [ADDED, *range(len(vocabulary.names) - 1)]


def test_lines_of_white_space_take_no_time():
    """A pattern that matches white space in several ways would take minutes."""
    lines = ["</s>: 0", "<unk>: 1", '"a\\"b": 2', "'it''s': 3", "\u3000: 4", "? long", ": 5", "a:b : 6"]
    content = ("\n".join(lines) + "\n").encode()
    assert read_vocabulary(content, "vocab.yml", 7).names[4:] == ['a"b', "it's", "\u3000", "long", "a:b"]
    with pytest.raises(UserError, match=r"vocab\.yml, line 9: is not a token, a colon and a row"):
        read_vocabulary(content + b"a" + b" " * 500_000, "vocab.yml", 7)
    with pytest.raises(UserError, match=r"line 309: "):
        read_vocabulary(content + (b'"' + b"\\a" * 4000 + b'": 7\n') * 300 + b"a" + b" " * 9_000, "vocab.yml", 7)
