"""A multilingual model: training, its bundle, and every command that names a direction."""

import dataclasses
import json
import shutil

import pytest

import allyouneed
from allyouneed import Translator, UserError
from allyouneed.bundle import load_bundle
from allyouneed.data.corpora import training_text
from allyouneed.exchange import export_argos
from allyouneed.exchange.agreement import sample_sources
from allyouneed.exchange.exporter import export_bundle
from allyouneed.serving.registry import load_registry
from allyouneed.training.train import FINISHED, train
from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.scoring import score
from allyouneed.translation.sentence import Sentence
from allyouneed.translation.sentence_translation import translate_sentences
from tests.conftest import silent, toy_pairs, toy_request, write_pairs

DIRECTIONS = (("x-a", "x-b"), ("x-b", "x-a"), ("x-a", "x-c"), ("x-c", "x-a"))
SETTINGS = ["training.steps=150", "training.validate_every=75", "model.d_model=64", "data.max_ratio=20"]


def write_text(folder):
    """Write two corpora: letters in reverse order (x-b), and capital letters (x-c)."""
    capitals = [(source, source.upper()) for source, _ in toy_pairs(300, seed=3)]
    train_files = [write_pairs(folder, "ab", toy_pairs(300)), write_pairs(folder, "ac", capitals)]
    valid_files = [write_pairs(folder, "vb", toy_pairs(20, seed=2)), write_pairs(folder, "vc", capitals[-20:])]
    return train_files, valid_files


def multilingual_request(folder, out, **more):
    text = training_text(*write_text(folder), (None, None), directions="x-a:x-b,x-a:x-c", both_ways=True, **more)
    request = toy_request(folder, out, SETTINGS)
    return dataclasses.replace(request, train=text.train, valid=text.valid, languages=text.languages)


@pytest.fixture(scope="module")
def multilingual_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multilingual")
    assert train(multilingual_request(folder / "text", folder / "run"), silent()).status == FINISHED
    return folder / "run"


def test_the_bundle_knows_its_directions(multilingual_run):
    bundle = load_bundle(multilingual_run)
    assert bundle.directions == DIRECTIONS
    assert set(bundle.tokenizer.codes) == {">>x-a<<", ">>x-b<<", ">>x-c<<"}
    card = (multilingual_run / "bundle" / "README.md").read_text()
    assert card.startswith("# x-a → x-b, x-b → x-a, x-a → x-c, x-c → x-a\n")
    scores = bundle.scores["valid"]
    each = [scores[f"bleu {source}→{target}"] for source, target in DIRECTIONS]
    assert scores["bleu"] == pytest.approx(sum(each) / 4)
    assert f"| valid bleu x-a→x-b | {each[0]:.2f} |" in card
    [*_, last] = [
        json.loads(line)
        for line in (multilingual_run / "log.jsonl").read_text().splitlines()
        if '"event": "validation"' in line
    ]
    assert {f"bleu {source}→{target}" for source, target in DIRECTIONS} <= last.keys()
    assert "bleu x-a→x-b" in (multilingual_run / "report.html").read_text()


def test_the_code_chooses_the_language(multilingual_run):
    translator = Translator.load(multilingual_run)
    texts = [source for source, _ in toy_pairs(10, seed=8)]
    small, capital = ([t.text for t in translator.translate(texts, target=target)] for target in ("x-b", "x-c"))
    assert sum(text == text.lower() for text in small) >= 9
    assert sum(text == text.upper() for text in capital) >= 9
    assert not any(">>" in text for text in [*small, *capital])
    assert [t.text for t in translator.translate([f">>x-c<< {text}" for text in texts])] == capital
    into = translator.into("x-c")
    assert (into.bundle.languages, into.remark) == (("x-a", "x-c"), None)
    assert [t.text for t in into.translate(texts)] == capital
    assert into.translate("a b").source == "a b"
    assert into.model is translator.model


def test_a_target_language_must_be_named(multilingual_run):
    translator = Translator.load(multilingual_run)
    for call in (translator.translate, translator.look, translator.alternatives):
        with pytest.raises(UserError, match=r"choose one with --to \(target=\): x-b, x-a, x-c"):
            call("a b")
    assert translator.translate("").text == ""
    with pytest.raises(UserError, match="does not translate into fr: it has x-b, x-a, x-c"):
        translator.into("fr")
    with pytest.raises(UserError, match="does not translate from de: it has x-a, x-b, x-c"):
        translator.into("x-b", "de")
    assert translator.into(source="x-c").bundle.languages == ("x-c", "x-a")  # the only target of this source


def test_a_direction_without_training_text_is_remarked(multilingual_run):
    remark = Translator.load(multilingual_run, target="x-c", source="x-b").remark
    assert remark is not None
    assert remark.startswith("x-b→x-c was not trained on (zero-shot): the model knows x-a→x-b, x-b→x-a")


def test_a_model_of_one_direction_has_one_target(toy_run):
    translator = Translator.load(toy_run)
    assert translator.into() is translator
    assert translator.into("bb") is translator
    with pytest.raises(UserError, match="does not translate into fr: it has bb"):
        translator.into("fr")


def test_alignments_do_not_count_the_code(multilingual_run):
    translator = Translator.load(multilingual_run, target="x-c")
    links = translator.align("a b c", "A B C")
    assert links
    assert all(0 <= i < 3 and 0 <= j < 3 for i, j in links)


def test_scores_are_those_of_the_text_with_its_code(multilingual_run, tmp_path):
    files = write_pairs(tmp_path, "test", [("a b", "A B"), ("c", "C")])
    coded = write_pairs(tmp_path, "coded", [(">>x-c<< a b", "A B"), (">>x-c<< c", "C")])
    translator = Translator.load(multilingual_run)
    scores = score(translator.into("x-c"), files)
    assert [each.score for each in scores] == [each.score for each in score(translator, coded)]
    with pytest.raises(UserError, match="choose one with --to"):
        score(translator, files)


def test_a_server_offers_each_direction(multilingual_run):
    registry = load_registry([multilingual_run])
    assert set(registry.translators) == set(DIRECTIONS)
    assert registry.route("x-b", "x-c") == [("x-b", "x-a"), ("x-a", "x-c")]
    models = {id(translator.engine) for translator in registry.translators.values()}
    assert len(models) == 1
    assert registry.translators["x-a", "x-c"].translate("a b").text.isupper()


def test_the_commands_take_the_target(multilingual_run, tmp_path, command):
    source, target = write_pairs(tmp_path, "test", [("a b", "A B"), ("c d", "C D")])
    code, out, _ = command("translate", multilingual_run, source, "--to", "x-c")
    assert (code, len(out.splitlines())) == (0, 2)
    code, _, shown = command("translate", multilingual_run, source, "--to", "x-c", "--from", "x-b")
    assert "x-b→x-c was not trained on (zero-shot)" in shown
    code, _, shown = command("translate", multilingual_run, source)
    assert (code, "choose one with --to" in shown) == (2, True)
    for arguments in (("evaluate", "--test", source, target), ("score", "--test", source, target)):
        code, out, shown = command(arguments[0], multilingual_run, *arguments[1:], "--to", "x-c")
        assert code == 0, shown
    code, out, _ = command("compare", multilingual_run, target, "--test", source, target, "--to", "x-c")
    assert (code, "B 100.00" in out) == (0, True)
    code, _, shown = command("compare", multilingual_run, target, "--test", source, target)
    assert (code, "choose one with --to" in shown) == (2, True)
    code, out, shown = command("look", multilingual_run, "a b", "--to", "x-c", "--json")
    assert (code, ">>x-c<<" in out) == (0, True)


def test_the_run_is_resumed_by_the_same_directions_only(multilingual_run, tmp_path, command):
    request = multilingual_request(tmp_path / "text", multilingual_run)
    assert train(request, silent()).status == FINISHED
    text = training_text(*write_text(tmp_path / "text"), (None, None), directions="x-a:x-b,x-a:x-c")
    with pytest.raises(UserError, match="--directions = "):
        train(dataclasses.replace(request, train=text.train, valid=text.valid), silent())


def test_python_trains_a_model_with_one_target_that_need_not_be_named(tmp_path):
    train_files, _ = write_text(tmp_path)
    files = [[*reversed(pair)] for pair in train_files]
    settings = [*toy_request(tmp_path, tmp_path).settings, "training.steps=2", "data.max_ratio=20"]
    result = allyouneed.train(
        directions=[("x-b", "x-a"), ("x-c", "x-a")],
        train=files,
        out=tmp_path / "run",
        recipe="tiny",
        settings=settings,
        quiet=True,
    )
    assert {"bleu x-b→x-a", "bleu x-c→x-a"} <= result.scores.keys()
    translator = Translator.load(result.bundle)
    assert translator.bundle.languages == ("x-b", "x-a")
    assert translator.tokenizer.pieces(translator.tokenizer.encode("B"))[1] == ">>x-a<<"
    translator.translate("B A")


def test_what_has_one_direction_refuses_a_multilingual_model(multilingual_run, tmp_path, command):
    bundle = load_bundle(multilingual_run)
    with pytest.raises(UserError, match="an Argos package has one direction"):
        export_argos(bundle, tmp_path / "argos")
    files = write_pairs(tmp_path, "train", toy_pairs(20))
    code, _, shown = command(
        "distil", multilingual_run, "--train", *files, "--valid", *files, "--out", tmp_path / "student"
    )
    assert (code, "distil imitates a translator of one direction" in shown) == (2, True)
    common = ("--train", *files, "--start-from", multilingual_run, "--out", tmp_path / "further")
    code, _, shown = command("train", "--from", "x-a", "--to", "x-b", *common)
    assert (code, "Give --directions, for example --directions de-en" in shown) == (2, True)
    code, _, shown = command("train", "--directions", "x-a:x-d", *common)
    assert (code, "no token >>x-d<<" in shown) == (2, True)
    shutil.rmtree(tmp_path / "further", ignore_errors=True)


def test_an_export_is_compared_on_text_with_codes(multilingual_run, tmp_path):
    pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")
    [files, _] = write_text(tmp_path)[1]
    with pytest.raises(UserError, match="choose one with --to"):
        export_bundle(multilingual_run, "ctranslate2", tmp_path / "out", test=files)
    assert not (tmp_path / "out").exists()
    lines = []
    assert export_bundle(
        multilingual_run, "ctranslate2", tmp_path / "out", test=files, print_line=lines.append, target="x-b"
    )
    bleu = evaluate(Translator.load(multilingual_run, target="x-b"), files, SearchOptions(length_penalty=0)).bleu
    assert lines[-2].startswith(f"BLEU {bleu:.2f} bundle, {bleu:.2f} export")
    with pytest.raises(UserError, match="Give --test too"):
        export_bundle(multilingual_run, "ctranslate2", tmp_path / "other", target="x-b")


def test_an_export_without_samples_is_compared_in_each_target_language(multilingual_run):
    bundle = dataclasses.replace(load_bundle(multilingual_run), samples=[])
    sources, _ = sample_sources(bundle)
    assert {source.split()[0] for source in sources} == {">>x-a<<", ">>x-b<<", ">>x-c<<"}


def test_the_targets_of_the_given_source_are_listed(multilingual_run):
    with pytest.raises(UserError, match=r"choose one with --to \(target=\): x-b, x-c\."):
        Translator.load(multilingual_run, source="x-a")


def test_kept_parts_and_links_after_a_code(multilingual_run):
    text = ">>x-b<< a b {x} c"
    translator = Translator.load(multilingual_run)
    [found] = translate_sentences(translator, [Sentence(text, ((12, 15),))], links=True)
    assert [found.text[slice(*span)] for span in found.kept] == ["{x}"]
    assert {text[slice(*source)] for source, _ in found.links} <= {"a", "b", "c"}
    [copied] = translate_sentences(translator, [Sentence(">>x-b<< ?")])
    assert (copied.text, copied.is_copied) == ("?", True)
