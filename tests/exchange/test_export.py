"""The commands: what they say, what they refuse, and that a changed byte is found."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from allyouneed import UserError
from allyouneed.bundle import load_bundle
from allyouneed.exchange.agreement import compare, sample_sources
from allyouneed.exchange.check import check
from allyouneed.exchange.ctranslate2 import ctranslate2_translator, export_ctranslate2
from allyouneed.exchange.export import export
from allyouneed.exchange.marian_import import import_model
from tests.compat import POST_NORM, PRE_NORM
from tests.conftest import toy_pairs, write_pairs
from tests.exchange.opus import write_marian

pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")


@pytest.mark.parametrize("format", ["ctranslate2", "marian", "argos"])
def test_agreement_on_the_stored_samples_is_reported(format, tmp_path):
    lines = []
    assert export(POST_NORM, format, tmp_path / "out", print_line=lines.append)
    samples = len(load_bundle(POST_NORM).samples)
    said = "\n".join(lines)
    assert f"compared on {samples} stored sample sentences" in said
    for beam_size in (1, 4):
        assert f"beam {beam_size}: {samples} of {samples} sentences the same, subword by subword" in said
    assert ("largest difference of a logit: " in said) == (format == "marian")
    assert "BLEU" in said


def test_a_bundle_without_samples_is_compared_on_made_up_sentences(tmp_path):
    lines = []
    export(PRE_NORM, "ctranslate2", tmp_path / "out", print_line=lines.append)
    assert "made up" in lines[1]


def test_what_cannot_be_compared_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(UserError, match="the package transformers is not installed: pip install"):
        export(POST_NORM, "marian", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_test_set_is_scored_with_both(tmp_path):
    lines = []
    files = write_pairs(tmp_path, "test", toy_pairs(25, seed=9))
    assert export(PRE_NORM, "ctranslate2", tmp_path / "out", "int8", files, lines.append)
    assert lines[1].startswith("compared on 25 sentences of test.src")
    bleu, chrf = lines[-2:]
    assert bleu.startswith("BLEU ")
    assert " there (" in chrf
    assert "nrefs:1" in bleu


def test_a_real_difference_is_no_tie(tmp_path):
    """A model whose exported half is another one."""
    bundle = load_bundle(POST_NORM)
    sources, _ = sample_sources(bundle)
    export_ctranslate2(load_bundle(PRE_NORM), tmp_path / "other")
    theirs = ctranslate2_translator(tmp_path / "other", load_bundle(PRE_NORM))
    agreements = compare(bundle, theirs, sources)
    assert not all(agreement.is_full for agreement in agreements)
    differences = [difference for agreement in agreements for difference in agreement.differences]
    assert any(difference.gain > 0.1 for difference in differences)
    assert any(line.startswith("  differs (+") for agreement in agreements for line in agreement.lines())


@pytest.mark.parametrize("name", ["model.bin", "config.json", "shared_vocabulary.json"])
def test_a_changed_byte_in_an_export_is_found_and_named(name, tmp_path):
    export_ctranslate2(load_bundle(POST_NORM), tmp_path / "out")
    assert "3 files as written" in check(tmp_path / "out")
    content = bytearray((tmp_path / "out" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: truncated or changed"):
        check(tmp_path / "out")


def test_a_changed_byte_in_an_import_is_found_and_named(tmp_path):
    write_marian(tmp_path / "opus")
    said = import_model("marian", tmp_path / "opus", tmp_path / "run")
    assert said.startswith("de → en: 2 + 1 layers")
    for name in ("source.spm", "vocabulary.json", "samples.json"):
        shutil.copytree(tmp_path / "run", tmp_path / f"run-{name}")
        path = tmp_path / f"run-{name}" / "bundle" / name
        path.write_bytes(path.read_bytes()[:-2] + b"?" + path.read_bytes()[-1:])
        with pytest.raises(UserError, match=name):
            load_bundle(tmp_path / f"run-{name}")


def test_the_commands(command, tmp_path):
    code, out, _ = command("export", POST_NORM, "--format", "ctranslate2", tmp_path / "out", "--quantization", "int8")
    assert code == 0
    assert "beam 4" in out
    assert command("check", tmp_path / "out")[:2] == (0, f"{tmp_path / 'out'}: 3 files as written\n")
    assert command("check", POST_NORM)[0] == 0
    write_marian(tmp_path / "opus")
    assert command("import", "marian", tmp_path / "opus", tmp_path / "run")[0] == 0
    (tmp_path / "text").write_text("a b\n")
    code, out, _ = command("translate", tmp_path / "run", tmp_path / "text")
    assert (code, out.count("\n")) == (0, 1)


def test_a_mistake_is_one_line(command, tmp_path, monkeypatch):
    """Each: exit code 2, one line, and nothing that was there has changed."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    write_marian(tmp_path / "opus")
    run, blank = tmp_path / "run", tmp_path / "blank"
    blank.write_text("\n \n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for words, arguments in {
        "choose ctranslate2, marian, argos": ("export", POST_NORM, run, "--format", "onnx"),
        "Marian's form is fp32": ("export", POST_NORM, run, "--format", "marian", "--quantization", "int8"),
        "manifest.json": ("check", tmp_path),
        "only marian": ("import", "onnx", POST_NORM, run),
        "no such folder": ("import", "marian", tmp_path / "missing", run),
        "give both languages": ("import", "marian", tmp_path / "opus", run, "--from", "de"),
        "nothing to compare": ("export", POST_NORM, run, "--format", "marian", "--test", blank, blank),
        ". is there already": ("export", POST_NORM, ".", "--format", "marian"),
        "out is there already": ("export", POST_NORM, tmp_path / "out", "--format", "marian"),
        "out is there already: give a new": ("import", "marian", tmp_path / "opus", tmp_path / "out"),
    }.items():
        code, out, said = command(*arguments)
        assert (code, out) == (2, "")
        assert said.startswith("error: ")
        assert words in said
        assert said.count("\n") == 1
    assert not run.exists()
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_languages_that_nobody_tells(tmp_path):
    write_marian(tmp_path / "opus")
    settings = tmp_path / "opus" / "tokenizer_config.json"
    told = {key: value for key, value in json.loads(settings.read_text()).items() if "lang" not in key}
    settings.write_text(json.dumps(told))
    with pytest.raises(UserError, match="--from CODE --to CODE"):
        import_model("marian", tmp_path / "opus", tmp_path / "run")
    import_model("marian", tmp_path / "opus", tmp_path / "run", "fi", "et")
    assert load_bundle(tmp_path / "run").languages == ("fi", "et")
