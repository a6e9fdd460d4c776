"""Training with subword sampling, separate vocabularies, symbols, and a tokenizer of the user's own."""

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

import allyouneed
from allyouneed.bundle import load_bundle
from allyouneed.data.corpora import corpus
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import open_store
from allyouneed.errors import UserError
from allyouneed.exchange.exporter import export_bundle
from allyouneed.training.distil import Distillation, distil
from allyouneed.training.train import FINISHED, train
from allyouneed.translation.translator import Translator
from tests.conftest import TOY, silent, toy_pairs, toy_request, write_pairs
from tests.data.test_own_tokenizer import own_model
from tests.training.test_distributed import EXACT, assert_close
from tests.training.test_resume import assert_same, crashing_after, losses

SAMPLING = ["data.subword_sampling=0.3"]
SEPARATE = ["data.separate_vocabularies=true"]


@pytest.fixture(scope="module")
def separate_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("separate")
    train(toy_request(folder / "text", folder / "run", [*SEPARATE, "model.norm=post"]), silent())  # as Marian
    return folder / "run"


@pytest.mark.parametrize("subwords", ["bpe", "unigram"])
def test_a_run_with_sampling_resumes_bit_exactly(tmp_path, monkeypatch, subwords):
    request = toy_request(tmp_path / "text", tmp_path / "one", [*SAMPLING, f"data.subwords={subwords}"])
    train(request, silent())
    other = dataclasses.replace(request, out=tmp_path / "two")
    with crashing_after(20, monkeypatch):
        train(other, silent())
    train(other, silent())
    assert_same(tmp_path / "one", tmp_path / "two")


def test_sampling_does_not_depend_on_the_number_of_shares(tmp_path):
    one = toy_request(tmp_path / "text", tmp_path / "one", [*EXACT, *SAMPLING])
    train(one, silent())
    three = dataclasses.replace(one, out=tmp_path / "three", settings=[*one.settings, "training.micro_batches=3"])
    train(three, silent())
    assert_close(tmp_path / "three", tmp_path / "one")


def test_sampling_changes_training_but_not_the_store_or_the_validation(tmp_path):
    plain = toy_request(tmp_path / "text", tmp_path / "plain")
    sampled = toy_request(tmp_path / "text", tmp_path / "sampled", SAMPLING)
    for request in (plain, sampled):
        train(request, silent())
    assert losses(plain.out) != losses(sampled.out)
    stores = [
        getattr(open_store(getattr(PreparedData(request.data_folder), part)), side).ids[:].tobytes()
        for request in (plain, sampled)
        for part in ("train", "valid")
        for side in ("source", "target")
    ]
    assert stores[:4] == stores[4:]


def test_further_training_with_sampling(toy_run, tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    settings = ["training.steps=3", "data.subword_sampling=0.2"]
    request = dataclasses.replace(request, recipe=None, settings=settings, start_from=toy_run)
    assert train(request, silent()).status == FINISHED


def test_sampling_that_is_impossible_is_refused_early(tmp_path):
    for settings, message in (
        (["data.subwords=word"], "a tokenizer of kind word has only one segmentation"),
        (["data.subwords=char"], "a tokenizer of kind char has only one segmentation"),
    ):
        request = toy_request(tmp_path / "text", tmp_path / "run", [*SAMPLING, *settings])
        with pytest.raises(UserError, match=message):
            train(request, silent())
        assert not PreparedData(request.data_folder).folder.exists()


def test_a_students_teacher_does_not_see_sampled_text(toy_run, tmp_path):
    files = write_pairs(tmp_path, "train", toy_pairs(50))
    request = Distillation(
        [toy_run], [corpus(*files)], [corpus(*files)], tmp_path / "run", "swift", [*SAMPLING, "training.steps=2"]
    )
    with pytest.raises(UserError, match=r"data\.subword_sampling and training\.teacher_share exclude each other"):
        distil(request, silent())


def test_separate_vocabularies_have_separate_embeddings(separate_run):
    bundle = load_bundle(separate_run)
    assert not bundle.tokenizer.shared
    assert bundle.config.model.tie_embeddings == "target"
    assert json.loads((separate_run / "bundle" / "config.json").read_text())["format"] == 3
    embeddings = bundle.model.source_embedding.tokens.weight, bundle.model.target_embedding.tokens.weight
    assert [len(weight) for weight in embeddings] == [len(bundle.tokenizer), len(bundle.tokenizer.target)]
    assert bundle.model.output.weight is embeddings[1]


def test_separate_vocabularies_translate_and_can_be_examined(separate_run, tmp_path, command):
    translator = Translator.load(separate_run)
    found = translator.translate(["a b c", "d e f"], beam_size=4, num_hypotheses=2)
    assert [len(each.hypotheses) for each in found] == [2, 2]
    attention = translator.look("a b c")
    assert attention.cross.shape[-1] == len(attention.source_tokens)
    assert command("look", separate_run, "a b c", "--html", tmp_path / "page.html")[0] == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.parametrize("format", ["ctranslate2", "marian"])
def test_separate_vocabularies_are_exported(separate_run, tmp_path, format):
    pytest.importorskip("ctranslate2" if format == "ctranslate2" else "transformers")
    export_bundle(separate_run, format, tmp_path / "out")


def test_explicit_contradictions_are_refused(tmp_path):
    for settings, message in (
        ([*SEPARATE, "model.tie_embeddings=true"], r'separate vocabularies\. Set it to "target" or false'),
        (["data.subwords=word", "data.symbols=<2de>"], "data.symbols needs a tokenizer that can divide"),
    ):
        with pytest.raises(UserError, match=message):
            train(toy_request(tmp_path / "text", tmp_path / "run", settings), silent())
    request = toy_request(tmp_path / "text", tmp_path / "run", [*SEPARATE, "model.tie_embeddings=false"])
    train(dataclasses.replace(request, settings=[*request.settings, "training.steps=2"]), silent())
    assert load_bundle(tmp_path / "run").config.model.tie_embeddings is False


@pytest.mark.parametrize("separate", [[], SEPARATE])
def test_symbols_are_single_tokens_on_both_sides(tmp_path, separate):
    pairs = [(f"<2bb> {source}", f"{target} <end>") for source, target in toy_pairs(200)]
    request = toy_request(tmp_path / "toy", tmp_path / "run", [*separate, "data.symbols=<2bb>,<end>,<unused>"])
    files = corpus(*write_pairs(tmp_path, "tagged", pairs))
    train(dataclasses.replace(request, train=[files], settings=[*request.settings, "training.steps=2"]), silent())
    tokenizer = load_bundle(tmp_path / "run").tokenizer
    for side in (tokenizer, tokenizer.target):
        for symbol in ("<2bb>", "<end>", "<unused>"):
            assert side.pieces(side.encode(f"{symbol} a b")).count(symbol) == 1
            assert side.decode(side.encode(f"{symbol} a b{symbol}")) == f"{symbol} a b{symbol}"


def test_every_part_of_a_long_text_begins_with_its_symbols(tmp_path):
    request = toy_request(tmp_path / "toy", tmp_path / "run", ["data.symbols=<2bb>"])
    train(dataclasses.replace(request, settings=[*request.settings, "training.steps=2"]), silent())
    translator = Translator.load(tmp_path / "run")
    [parts] = translator.splitter.split(["<2bb> " + "a b c d e f. " * 30])
    [symbol] = translator.tokenizer.ids(["<2bb>"])
    assert len(parts) > 2
    assert all(list(part.ids).count(symbol) == 1 for part in parts)


def test_a_tokenizer_of_the_users_own(tmp_path):
    model, messages = own_model(tmp_path / "own.model", "unigram", byte_fallback=False), []
    request = toy_request(tmp_path / "text", tmp_path / "run")
    settings = [setting for setting in TOY if "vocab_size" not in setting]
    request = dataclasses.replace(request, settings=settings, tokenizer=[model])
    console = Console(width=200, file=(tmp_path / "log").open("w"))
    train(request, console)
    console.file.close()
    messages = " ".join((tmp_path / "log").read_text().split())
    assert "no bytes for characters outside its vocabulary" in messages
    bundle = load_bundle(request.out)
    assert bundle.config.data.vocab_size == len(bundle.tokenizer)
    assert bundle.config.data.subwords == "unigram"
    assert train(request, silent()).status == FINISHED
    own_model(model, "bpe")
    with pytest.raises(UserError, match=r"was started with --tokenizer = own\.model, now the same with other content"):
        train(request, silent())


def test_settings_that_contradict_the_users_tokenizer(tmp_path):
    model = own_model(tmp_path / "own.model")
    settings = [setting for setting in TOY if "vocab_size" not in setting]
    request = toy_request(tmp_path / "text", tmp_path / "run")
    for setting, message in (
        ("data.vocab_size=300", r"data\.vocab_size = 300, but --tokenizer is given: it has 32\d\. Remove"),
        ("data.subwords=unigram", "it has bpe"),
        ("data.character_coverage=0.99", "it is already trained"),
        ("data.separate_vocabularies=true", "it has false"),
    ):
        changed = dataclasses.replace(request, settings=[*settings, setting], tokenizer=[model])
        with pytest.raises(UserError, match=message):
            train(changed, silent())


def test_no_second_tokenizer_for_a_start(toy_run, tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    request = dataclasses.replace(request, tokenizer=[own_model(tmp_path / "own.model")], start_from=toy_run)
    with pytest.raises(UserError, match=r"--tokenizer: a model that is trained further.* already has one"):
        train(dataclasses.replace(request, settings=[], recipe=None), silent())


def test_python_and_the_command_line(tmp_path, command):
    models = [own_model(tmp_path / "a.model"), own_model(tmp_path / "b.model", "unigram")]
    files, valid = write_pairs(tmp_path, "train", toy_pairs(100)), write_pairs(tmp_path, "valid", toy_pairs(10, seed=3))
    settings = [each for each in TOY if "vocab_size" not in each and "steps" not in each] + ["training.steps=3"]
    result = allyouneed.train(
        source="de",
        target="en",
        train=files,
        valid=valid,
        out=tmp_path / "run",
        recipe="tiny",
        settings=[*settings, "data.symbols=<2de>"],
        tokenizer=models,
        quiet=True,
    )
    assert not load_bundle(result.run).tokenizer.shared
    sets = [part for setting in [*settings, "data.symbols=<2de>"] for part in ("--set", setting)]
    arguments = ["--train", *files, "--valid", *valid, "--recipe", "tiny", "--out", tmp_path / "run", *sets]
    code, _, error = command("train", "--from", "de", "--to", "en", *arguments, "--tokenizer", *models)
    assert code == 0
    assert "already finished" in error
