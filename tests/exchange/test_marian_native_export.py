"""Export to Marian's own format: an independent computation of the files, and Marian itself where it is installed."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import sentencepiece
import torch
import yaml

from allyouneed import Translator, UserError
from allyouneed.bundle import Bundle, load_bundle
from allyouneed.config import Config, ModelConfig
from allyouneed.data.tokens.segmenters import SpaceSegmenter
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.data.tokens.vocabulary import ADDED, Vocabulary, VocabularyTokenizer
from allyouneed.exchange.agreement import compare
from allyouneed.exchange.exporter import export_bundle
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.marian_native.decoder import find_marian, marian_native_translator
from allyouneed.exchange.marian_native.export import DECODER, MODEL, export_marian_native
from allyouneed.exchange.marian_native.native_import import read_native
from allyouneed.exchange.verification import verify_checksums
from allyouneed.model.transformer import Transformer
from tests.compat import PRE_NORM
from tests.conftest import toy_pairs
from tests.exchange.marian_reference import MarianModel
from tests.exchange.models import SIZES, TEXTS, random_bundle
from tests.exchange.opus import write_marian

SHAPES = [
    {},
    {"norm": "pre"},
    {"norm": "pre", "positions": "learned", "max_positions": 310, "tie_embeddings": False},
    {"positions": "learned", "max_positions": 310, "tie_embeddings": "target"},
    {"attention_bias": True, "output_bias": True, "activation": "swish", "encoder_layers": 1, "decoder_layers": 3},
    {"norm": "pre", "final_norm": False, "embedding_norm": True, "activation": "gelu", "feed_forward_bias": False},
    {"final_norm": True, "decoder_d_ff": 20, "activation": "gelu_sigmoid", "tie_embeddings": "inputs"},
    {"norm": "pre", "sinusoid_frequencies": "tensor2tensor", "first_position": 2, "scale_embeddings": False},
    {"norm": "pre", "final_norm": False, "tie_embeddings": "target", "embedding_norm": True},
    {"norm_epsilon": 1e-2, "embedding_norm": True},
    {"norm_epsilon": 1e-2, "final_norm": True, "tie_embeddings": False, "attention_bias": True},
    {"norm_epsilon": 1e-2, "norm": "pre", "tie_embeddings": "target"},
    {"norm_epsilon": 1e-2, "norm": "pre", "final_norm": False, "embedding_norm": True, "output_bias": True},
    {"norm": "pre", "d_k": 6, "d_v": 4, "tie_embeddings": "target", "activation": "swish"},
]
needs_marian = pytest.mark.skipif(find_marian() is None, reason="neither marian-decoder nor pymarian is installed")


def with_ends(bundle: Bundle) -> Bundle:
    """Give the end token a bias, so that translations end."""
    bundle.model.output.bias = torch.nn.Parameter(torch.zeros(len(bundle.model.output.weight)))
    bundle.model.output.bias.data[EOS] = 3.0
    model = bundle.config.model.model_copy(update={"output_bias": True})
    bundle.config = bundle.config.model_copy(update={"model": model})
    bundle.model.config = model
    return bundle


def separate_vocabularies() -> Bundle:
    sides = list(zip(*toy_pairs(60), strict=True))
    target = learn_tokenizer([text.upper() for text in sides[1]], 290)
    tokenizer = Tokenizer(learn_tokenizer(sides[0], 300).model, target)
    config = Config(model=ModelConfig(**SIZES, norm="pre", tie_embeddings="target"))
    torch.manual_seed(3)
    model = Transformer(config.model, len(tokenizer), target_vocab_size=len(target)).eval()
    return Bundle(model, tokenizer, config, ("de", "en"), longest_source=40)


def native_bundle(**settings: object) -> Bundle:
    """A model of the kind that Marian trains, with a vocabulary without padding and start."""
    names = ["<pad>", "<unk>", "<s>", "</s>", *"abcdefgh"]
    tokenizer = VocabularyTokenizer(SpaceSegmenter(), Vocabulary(names, [ADDED, 1, ADDED, 0, *range(2, 10)]))
    shape = {"sinusoid_frequencies": "tensor2tensor", "norm_epsilon": 1e-6, "attention_bias": True, "output_bias": True}
    config = Config(model=ModelConfig(**{**SIZES, **shape, **settings}))
    torch.manual_seed(5)
    model = Transformer(config.model, len(names)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for rows in (model.source_embedding.tokens.weight, model.target_embedding.tokens.weight, model.output.weight):
            rows[[PAD, BOS]] = 0.0
        model.output.bias[[PAD, BOS]] = 0.0
    return Bundle(model, tokenizer, config, ("de", "en"), longest_source=40)


@torch.inference_mode()
def check_logits(bundle: Bundle, folder) -> None:
    marian, tokenizer = MarianModel(folder / MODEL), bundle.tokenizer
    possible = [i for i in range(len(tokenizer.target)) if i not in (PAD, UNK, BOS)]
    for source, target in zip(TEXTS, TEXTS[::-1], strict=True):
        source_ids, target_ids = [*tokenizer.encode(source), EOS], tokenizer.target.encode(target)
        ours = bundle.model(torch.tensor([source_ids]), torch.tensor([[BOS, *target_ids]]))[0].numpy()
        theirs = marian.logits(source_ids, target_ids)
        assert abs(ours - theirs)[:, possible].max() < 1e-5 * max(10, abs(ours).max())
        assert theirs[:, [PAD, UNK, BOS]].max() < -5000  # never generated
    assert marian.used == set(marian.tensors)


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_the_files_compute_our_logits(settings, tmp_path):
    bundle = random_bundle(**settings)
    export_marian_native(bundle, tmp_path / "out")
    check_logits(bundle, tmp_path / "out")


def test_an_export_leaves_the_bundle_as_it_is(tmp_path):
    bundle = random_bundle(norm="pre")
    before = {name: tensor.clone() for name, tensor in bundle.model.state_dict().items()}
    export_marian_native(bundle, tmp_path / "out")
    assert all(torch.equal(tensor, before[name]) for name, tensor in bundle.model.state_dict().items())


def test_separate_vocabularies(tmp_path):
    bundle = separate_vocabularies()
    export_marian_native(bundle, tmp_path / "out")
    check_logits(bundle, tmp_path / "out")
    decoder = yaml.safe_load((tmp_path / "out" / DECODER).read_text())
    assert decoder["vocabs"] == ["source.spm", "target.spm"]
    for side, tokenizer in (("source", bundle.tokenizer), ("target", bundle.tokenizer.target)):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / f"{side}.spm"))
        assert len(processor) == len(tokenizer)


def test_the_folder_is_complete(tmp_path):
    bundle = load_bundle(PRE_NORM)
    export_marian_native(bundle, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "decoder.yml",
        "manifest.json",
        "model.npz",
        "vocab.spm",
    ]
    decoder = yaml.safe_load((tmp_path / "out" / DECODER).read_text())
    assert decoder["beam-size"] == bundle.config.search.beam_size
    assert decoder["normalize"] == 0
    assert decoder["models"] == ["model.npz"]
    assert decoder["relative-paths"] is True
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "vocab.spm"))
    assert processor.encode("a b c") == bundle.tokenizer.encode("a b c")
    assert "3 files match" in verify_checksums(tmp_path / "out")


def test_a_vocabulary_that_is_not_sentencepiece_is_written_as_yaml(tmp_path):
    write_marian(tmp_path / "hf")
    import_bundle("marian", [tmp_path / "hf"], tmp_path / "run", "de", "en")
    bundle = load_bundle(tmp_path / "run")
    export_marian_native(bundle, tmp_path / "out")
    [name] = {*yaml.safe_load((tmp_path / "out" / DECODER).read_text())["vocabs"]}
    rows = yaml.safe_load((tmp_path / "out" / name).read_text(encoding="utf-8"))
    assert sorted(rows.values()) == list(range(len(rows)))
    assert MarianModel(tmp_path / "out" / MODEL).options["dim-vocabs"] == [len(rows)] * 2
    vocabulary = bundle.tokenizer.vocabulary
    assert rows["</s>"] == vocabulary.rows[EOS]
    assert rows["<unk>"] == vocabulary.rows[UNK]
    assert all(rows[name] == row for name, row in list(zip(vocabulary.names, vocabulary.rows, strict=True))[4:])


@pytest.mark.parametrize("tied", [True, "target", "inputs", False])
def test_a_model_of_marian_s_own_kind_goes_back_unchanged(tied, tmp_path):
    """Export, import and export again: the same parameters, and the same file."""
    bundle = native_bundle(tie_embeddings=tied, embedding_norm=tied is True)
    export_marian_native(bundle, tmp_path / "out")
    assert MarianModel(tmp_path / "out" / MODEL).options["type"] == "transformer"
    imported = read_native([tmp_path / "out"], ("de", "en"))
    assert imported.tokenizer.vocabulary.rows == bundle.tokenizer.vocabulary.rows
    assert imported.tokenizer.encode("a h") == bundle.tokenizer.encode("a h")
    ours, theirs = bundle.model.state_dict(), imported.model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    imported.config = imported.config.replace(search={"length_penalty": 0.7, "length_offset": 0.0})
    export_marian_native(imported, tmp_path / "again")
    assert yaml.safe_load((tmp_path / "again" / DECODER).read_text())["normalize"] == 0.7
    assert (tmp_path / "again" / MODEL).read_bytes() == (tmp_path / "out" / MODEL).read_bytes()


@pytest.mark.parametrize("settings", SHAPES[3::3], ids=str)
@torch.inference_mode()
def test_the_newer_kind_comes_back(settings, tmp_path):
    """Export, import and export again: our logits, and the same tensors."""
    bundle = random_bundle(**settings)
    export_marian_native(bundle, tmp_path / "out")
    assert MarianModel(tmp_path / "out" / MODEL).options["type"] == "transformer-new"
    imported = read_native([tmp_path / "out"], ("de", "en"))
    tokenizers = bundle.tokenizer, imported.tokenizer
    pieces = tokenizers[0].pieces(range(len(tokenizers[0])))
    possible = [i for i in range(len(pieces)) if i not in (PAD, UNK, BOS)]
    theirs_possible = [imported.tokenizer.vocabulary.names.index(pieces[i]) for i in possible]
    for source, target in zip(TEXTS, TEXTS[::-1], strict=True):
        ours, theirs = (
            each.model(
                torch.tensor([[*tokenizer.encode(source), EOS]]), torch.tensor([[BOS, *tokenizer.encode(target)]])
            )[0]
            for each, tokenizer in zip((bundle, imported), tokenizers, strict=True)
        )
        difference = ours[:, possible] - theirs[:, theirs_possible]
        assert difference.abs().max() < 1e-5 * max(10, ours.abs().max())
    export_marian_native(imported, tmp_path / "again")
    first, second = (MarianModel(tmp_path / name / MODEL).tensors for name in ("out", "again"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@needs_marian
@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_marian_translates_its_own_kind_in_padded_batches(tied, tmp_path):
    bundle = native_bundle(tie_embeddings=tied)
    bundle.model.output.bias.data[EOS] = 3.0
    export_marian_native(bundle, tmp_path / "out")
    sources = [source for source, _ in toy_pairs(40, seed=4)]
    for agreement in compare(bundle, marian_native_translator(tmp_path / "out", bundle, find_marian()), sources):
        assert agreement.is_complete, "\n".join(agreement.lines())


def test_without_marian_nothing_is_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    lines: list[str] = []
    assert export_bundle(PRE_NORM, "marian-native", tmp_path / "out", print_line=lines.append)
    assert lines[1].startswith("not compared: neither marian-decoder nor pymarian was found")
    with pytest.raises(UserError, match="--test needs Marian"):
        export_bundle(PRE_NORM, "marian-native", tmp_path / "other", test=[tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "other").exists()


def test_quantization_and_unsupported_models_are_refused(tmp_path):
    with pytest.raises(UserError, match="the Marian exports are fp32"):
        export_bundle(PRE_NORM, "marian-native", tmp_path / "out", "int8")
    for message, settings in {
        "at most d_model / num_heads = 8": {"d_k": 9},
        "Marian computes only relu": {"activation": "gelu_tanh"},
        "the same number of heads, here 4": {"decoder_heads": 8},
        "both encoder and decoder have a final norm": {"final_norm": "encoder"},
        "attention sees the end token": {"source_end": False},
    }.items():
        with pytest.raises(UserError, match=message):
            export_marian_native(random_bundle(**settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_marian
@pytest.mark.slow
@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_marian_generates_our_tokens(settings, tmp_path):
    bundle = with_ends(random_bundle(**settings))
    export_marian_native(bundle, tmp_path / "out")
    sources = [source for source, _ in toy_pairs(20, seed=4)]
    for agreement in compare(bundle, marian_native_translator(tmp_path / "out", bundle, find_marian()), sources):
        assert agreement.is_complete, "\n".join(agreement.lines())


@needs_marian
@pytest.mark.slow
def test_marian_reads_a_yaml_vocabulary(tmp_path):
    write_marian(tmp_path / "hf")
    import_bundle("marian", [tmp_path / "hf"], tmp_path / "run", "de", "en")
    lines: list[str] = []
    assert export_bundle(tmp_path / "run", "marian-native", tmp_path / "out", print_line=lines.append), lines


@needs_marian
@pytest.mark.slow
def test_marian_translates_plain_text(tmp_path):
    bundle = load_bundle(PRE_NORM)
    lines: list[str] = []
    assert export_bundle(PRE_NORM, "marian-native", tmp_path / "out", print_line=lines.append)
    assert "beam 4: 20 of 20 translations identical" in lines
    command = [*find_marian(), "--config", str(tmp_path / "out" / DECODER), "--quiet"]
    texts = [source for source, _ in toy_pairs(20, seed=4)]
    done = subprocess.run(command, input="\n".join(texts) + "\n", capture_output=True, text=True, check=True)
    ours = Translator(bundle).translate(texts, length_penalty=0.0)
    assert done.stdout.split("\n")[:-1] == [translation.text for translation in ours]
