"""Export to Marian and import from it: equal logits, token ids and translations."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file

from allyouneed import Translator, UserError, exchange
from allyouneed.bundle import load_bundle
from allyouneed.exchange.hugging_face.export import export_marian
from allyouneed.exchange.hugging_face.importer import read_marian
from allyouneed.exchange.importer import import_bundle
from allyouneed.files import read_tensors
from allyouneed.insight.explorer import explorer_data
from tests.compat import POST_NORM
from tests.conftest import toy_pairs
from tests.exchange.models import TEXTS, random_bundle
from tests.exchange.opus import SHAPES, write_marian

pytest.importorskip("transformers", reason="the package transformers is not installed")
TARGETS = [text[::-1] for text in TEXTS]

EXPORTED_SHAPES = {
    "the paper's": {},
    "deeper decoder, untied embeddings": {"encoder_layers": 1, "decoder_layers": 3, "tie_embeddings": False},
    "narrow heads": {"d_k": 4, "d_v": 6},
    "biases and swish": {"attention_bias": True, "output_bias": True, "activation": "swish"},
    "gelu, embeddings not scaled": {"activation": "gelu", "scale_embeddings": False, "norm_epsilon": 1e-6},
    "gelu by tanh, no biases": {"activation": "gelu_tanh", "feed_forward_bias": False, "tie_embeddings": "inputs"},
    "gelu by sigmoid, other sinusoids": {
        **{"activation": "gelu_sigmoid", "sinusoid_frequencies": "tensor2tensor", "first_position": 2},
        **{"decoder_d_ff": 24, "decoder_heads": 2, "d_k": 4},
    },
}


@pytest.mark.parametrize("shape", EXPORTED_SHAPES)
def test_an_export_has_the_same_logits(shape, tmp_path):
    bundle = random_bundle(**EXPORTED_SHAPES[shape])
    export_marian(bundle, tmp_path / "marian")
    assert exchange.largest_logit_difference(tmp_path / "marian", bundle, TEXTS, TARGETS) < 1e-4


@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations_are_identical(beam_size, tmp_path):
    translator = Translator.load(POST_NORM)
    texts = [source for source, _ in toy_pairs(30, seed=3)]
    export_marian(translator.bundle, tmp_path / "marian")
    translated = exchange.marian_translator(tmp_path / "marian", translator.bundle)(texts, beam_size)
    assert translated == [
        result.tokens
        for result in translator.translate(texts, beam_size=beam_size, length_penalty=0.0, repetition_guard=False)
    ]


@pytest.mark.parametrize("alpha", [None, 2.0])
def test_the_search_of_transformers_is_imported(alpha, tmp_path):
    """Translations with the folder's own settings, whose default length penalty is 1."""
    folder, run = tmp_path / "marian", tmp_path / "run"
    export_marian(load_bundle(POST_NORM), folder)
    (folder / "manifest.json").unlink()
    settings = json.loads((folder / "generation_config.json").read_text())
    del settings["length_penalty"]
    settings |= {} if alpha is None else {"length_penalty": alpha}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    import_bundle("marian", [folder], run)
    search = load_bundle(run).config.search
    assert (search.length_penalty, search.length_offset) == (alpha or 1.0, 0.0)
    from transformers import MarianMTModel, MarianTokenizer

    model, tokenizer = MarianMTModel.from_pretrained(folder), MarianTokenizer.from_pretrained(folder)
    texts = [source for source, _ in toy_pairs(8, seed=3)]
    ours = Translator.load(run).translate(texts, repetition_guard=False)
    for text, translation in zip(texts, ours, strict=True):
        [ids] = model.generate(**tokenizer([text], return_tensors="pt"), max_length=60)
        assert tokenizer.decode(ids, skip_special_tokens=True) == translation.text
    export_marian(load_bundle(run), tmp_path / "again")
    assert json.loads((tmp_path / "again" / "generation_config.json").read_text())["length_penalty"] == (alpha or 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_import_and_export_round_trip(shape, tmp_path):
    write_marian(tmp_path / "opus", **SHAPES[shape])
    import_bundle("marian", [tmp_path / "opus"], tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    assert exchange.largest_logit_difference(tmp_path / "opus", bundle, TEXTS, TARGETS) < 1e-4
    assert bundle.languages == ("de", "en")
    export_marian(bundle, tmp_path / "again")
    before, after = (read_tensors(tmp_path / name / "model.safetensors") for name in ("opus", "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name in ("vocab.json", "target_vocab.json"):
        if (tmp_path / "opus" / name).exists():
            assert json.loads((tmp_path / "opus" / name).read_text()) == json.loads(
                (tmp_path / "again" / name).read_text()
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_stored_sinusoids_are_recognised(dtype, tmp_path):
    bundle = random_bundle(sinusoid_frequencies="tensor2tensor", first_position=2)
    export_marian(bundle, tmp_path / "marian")
    (tmp_path / "marian" / "manifest.json").unlink()
    path = tmp_path / "marian" / "model.safetensors"
    save_file({name: x.to(dtype) if "positions" in name else x for name, x in read_tensors(path).items()}, path)
    imported = read_marian([tmp_path / "marian"])
    model = imported.config.model
    assert (model.sinusoid_frequencies, model.first_position) == ("tensor2tensor", 2)
    if dtype == torch.float32:
        assert exchange.largest_logit_difference(tmp_path / "marian", imported, TEXTS, TARGETS) < 1e-4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.encoder.embed_positions.weight", "holds no sinusoids in Marian's order"),
        ("model.encoder.layers.7.fc1.weight", r"has the tensor model\.encoder\.layers\.7\.fc1\.weight"),
        ("lm_head.weight", r"has the tensor lm_head\.weight"),
    ],
)
def test_tensors_that_would_be_ignored_are_refused(name, message, opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    tensors = read_tensors(opus / "model.safetensors")
    save_file({**tensors, name: torch.ones(64, 32)}, tmp_path / "opus" / "model.safetensors")
    with pytest.raises(UserError, match=message):
        read_marian([tmp_path / "opus"])
    save_file(
        {**tensors, "lm_head.weight": tensors["model.shared.weight"].clone()}, tmp_path / "opus" / "model.safetensors"
    )
    read_marian([tmp_path / "opus"])  # a copy of the embeddings


@pytest.mark.parametrize("shape", SHAPES)
def test_tokenization_agrees_with_transformers(shape, tmp_path):
    from transformers import MarianTokenizer

    write_marian(tmp_path / "opus", **SHAPES[shape])
    tokenizer, reference = (
        read_marian([tmp_path / "opus"]).tokenizer,
        MarianTokenizer.from_pretrained(tmp_path / "opus"),
    )
    for text in [*TEXTS, "xyz a", "a  b", "ä 1 b"]:
        assert [tokenizer.vocabulary.rows[i] for i in tokenizer.encode(text)] == reference(text)["input_ids"][:-1]
        target = reference(text_target=text)["input_ids"][:-1]
        assert [tokenizer.target.vocabulary.rows[i] for i in tokenizer.target.encode(text)] == target
        ids = tokenizer.target.encode(text)
        if tokenizer.encode(text) and "<unk>" not in tokenizer.target.pieces(ids):
            assert tokenizer.target.decode(ids) == reference.decode(target, use_source_tokenizer=False)


def test_an_imported_model_translates_and_shows_its_attention(tmp_path):
    write_marian(tmp_path / "opus", **SHAPES["two vocabularies, tied"])
    import_bundle("marian", [tmp_path / "opus"], tmp_path / "run")
    translator = Translator.load(tmp_path / "run")
    assert all(result.text for result in translator.translate(TEXTS))
    page = explorer_data(translator, "a b c", switches=[], translation="c b a")
    assert page["target"]["tokens"] == ["▁c", "▁b", "▁a", "</s>"]
    assert page["source"]["tokens"] == ["▁a", "▁b", "▁c", "</s>"]
    look = translator.look("a b c", "c b a")
    assert look.cross.shape == (1, 4, 4, 4)
    assert look.target_tokens == ["▁c", "▁b", "▁a", "</s>"]


@pytest.mark.parametrize("activation", ["relu", "swish"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_imported_model_is_exported_to_ctranslate2(shape, activation, tmp_path):
    pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")
    write_marian(tmp_path / "opus", **{**SHAPES[shape], "activation_function": activation})
    translator = Translator(read_marian([tmp_path / "opus"]))
    exchange.export_ctranslate2(translator.bundle, tmp_path / "out")
    expected = [result.tokens for result in translator.translate(TEXTS, beam_size=1, repetition_guard=False)]
    translated = exchange.ctranslate2_translator(tmp_path / "out", translator.bundle)(TEXTS, 1)
    assert [tokens[: len(prefix)] for tokens, prefix in zip(translated, expected, strict=True)] == expected


def test_unsupported_models_are_refused(tmp_path):
    for settings in (
        *({"norm": "pre"}, {"positions": "learned"}, {"d_k": 16, "d_v": 8}, {"embedding_norm": True}),
        *({"final_norm": True}, {"final_norm": "decoder"}, {"norm_epsilon": 1e-3}, {"source_end": False}),
    ):
        with pytest.raises(UserError, match=r"ctranslate2|allows at most"):
            export_marian(random_bundle(**settings), tmp_path / "marian")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def opus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opus") / "opus"
    write_marian(folder)
    return folder


@pytest.mark.parametrize("missing", ["config.json", "source.spm", "vocab.json", "model.safetensors"])
def test_a_missing_file_is_reported(missing, opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    (tmp_path / "opus" / missing).unlink()
    with pytest.raises(UserError, match=missing):
        read_marian([tmp_path / "opus"])


def test_a_pickle_is_not_read(opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    (tmp_path / "opus" / "model.safetensors").rename(tmp_path / "opus" / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickle"):
        read_marian([tmp_path / "opus"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("normalize_before", True), ("activation_function", "tanh"), ("model_type", "bart")],
)
def test_other_architectures_are_refused(name, value, opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    config = json.loads((opus / "config.json").read_text())
    (tmp_path / "opus" / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(UserError, match=name):
        read_marian([tmp_path / "opus"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("d_model", "wide", r"config\.json: d_model = 'wide': input should be a valid integer"),
        ("vocab_size", 3, r"config\.json: data\.vocab_size = 3"),
        ("eos_token_id", 10_000, r"vocab\.json: has no row 10000"),
        ("decoder_start_token_id", None, r"vocab\.json: has no row None"),
    ],
)
def test_an_invalid_config_is_refused(name, value, message, opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    config = json.loads((opus / "config.json").read_text())
    (tmp_path / "opus" / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(UserError, match=message):
        read_marian([tmp_path / "opus"])


def test_one_matrix_for_two_vocabularies_is_refused(tmp_path):
    write_marian(tmp_path / "opus", **SHAPES["two vocabularies, tied"])
    path = tmp_path / "opus" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "share_encoder_decoder_embeddings": True}))
    with pytest.raises(UserError, match=r"tie_embeddings = true needs a shared vocabulary"):
        read_marian([tmp_path / "opus"])


def test_a_vocabulary_that_is_a_list_is_refused(opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    (tmp_path / "opus" / "vocab.json").write_text('["<pad>"]')
    with pytest.raises(UserError, match=r"vocab\.json: "):
        read_marian([tmp_path / "opus"])


def test_a_changed_byte_is_reported(tmp_path):
    export_marian(random_bundle(), tmp_path / "marian")
    path = tmp_path / "marian" / "target.spm"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"target\.spm.*changed"):
        read_marian([tmp_path / "marian"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids.pop("<unk>"), r"vocab\.json: does not name each of rows 0 to \d+ once"),
        (lambda ids: ids.update({"<unknown>": ids.pop("<unk>")}), r"vocab\.json: has no <unk>"),
    ],
)
def test_an_incomplete_vocabulary_is_refused(change, message, opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    ids = json.loads((opus / "vocab.json").read_text(encoding="utf-8"))
    change(ids)
    (tmp_path / "opus" / "vocab.json").write_text(json.dumps(ids))
    with pytest.raises(UserError, match=message):
        read_marian([tmp_path / "opus"])


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_invalid_sentencepiece_model_is_refused(side, opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    (tmp_path / "opus" / f"{side}.spm").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"source\.spm or target\.spm is not a SentencePiece model"):
        read_marian([tmp_path / "opus"])


def test_missing_weights_are_reported(opus, tmp_path):
    shutil.copytree(opus, tmp_path / "opus")
    path = tmp_path / "opus" / "model.safetensors"
    tensors = read_tensors(path)
    norm = next(name for name in tensors if name.endswith("encoder.layers.0.self_attn_layer_norm.weight"))
    save_file({name: tensor for name, tensor in tensors.items() if name != norm}, path)
    with pytest.raises(UserError, match=r"model\.safetensors: has no tensor '.*layer_norm\.weight'"):
        read_marian([tmp_path / "opus"])
    short = {name: tensor[:-5].clone() if "shared" in name else tensor for name, tensor in tensors.items()}
    save_file(short, path)
    with pytest.raises(UserError, match=r"model\.safetensors: has fewer rows than the vocabulary has tokens"):
        read_marian([tmp_path / "opus"])


def test_without_transformers(opus, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it raises ImportError
    monkeypatch.delitem(sys.modules, "allyouneed.exchange.hugging_face.inference", raising=False)
    with pytest.raises(UserError, match=r"transformers is not installed: pip install 'allyouneed\[exchange\]'"):
        exchange.marian_translator(opus, random_bundle())
