"""The commands export, import and check: reports, refusals, and detection of changed files."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from allyouneed import UserError, exchange
from allyouneed.bundle import load_bundle
from allyouneed.exchange.agreement import compare, sample_sources
from allyouneed.exchange.exporter import export_bundle
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.verification import verify_checksums
from tests.compat import POST_NORM, PRE_NORM
from tests.conftest import toy_pairs, write_pairs
from tests.exchange.opus import write_marian

pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")


@pytest.mark.parametrize("format", ["ctranslate2", "marian", "argos"])
def test_agreement_on_the_sample_sentences(format, tmp_path):
    lines = []
    assert export_bundle(POST_NORM, format, tmp_path / "out", print_line=lines.append)
    samples = len(load_bundle(POST_NORM).samples)
    report = "\n".join(lines)
    assert f"compared on {samples} sample sentences of the bundle" in report
    for beam_size in (1, 4):
        assert f"beam {beam_size}: {samples} of {samples} translations identical" in report
    assert ("largest logit difference: " in report) == (format == "marian")
    assert "BLEU" in report


def test_a_bundle_without_samples_is_compared_on_random_tokens(tmp_path):
    lines = []
    export_bundle(PRE_NORM, "ctranslate2", tmp_path / "out", print_line=lines.append)
    assert "random" in lines[1]


def test_nothing_is_written_without_transformers(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it raises ImportError
    monkeypatch.delitem(sys.modules, "allyouneed.exchange.hugging_face.inference", raising=False)
    with pytest.raises(UserError, match="the package transformers is not installed: pip install"):
        export_bundle(POST_NORM, "marian", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_test_set_is_scored_with_both_systems(tmp_path):
    lines = []
    files = write_pairs(tmp_path, "test", toy_pairs(25, seed=9))
    assert export_bundle(PRE_NORM, "ctranslate2", tmp_path / "out", "int8", files, lines.append)
    assert lines[1].startswith("compared on 25 sentences of test.src")
    bleu, chrf = lines[-2:]
    assert bleu.startswith("BLEU ")
    assert " export (" in chrf
    assert "nrefs:1" in bleu


def test_another_model_gives_differences(tmp_path):
    bundle = load_bundle(POST_NORM)
    sources, _ = sample_sources(bundle)
    exchange.export_ctranslate2(load_bundle(PRE_NORM), tmp_path / "other")
    other = exchange.ctranslate2_translator(tmp_path / "other", load_bundle(PRE_NORM))
    agreements = compare(bundle, other, sources)
    assert not all(agreement.is_complete for agreement in agreements)
    differences = [difference for agreement in agreements for difference in agreement.differences]
    assert any(difference.gain > 0.1 for difference in differences)
    assert any(line.startswith("  differs (+") for agreement in agreements for line in agreement.lines())


@pytest.mark.parametrize("name", ["model.bin", "config.json", "shared_vocabulary.json"])
def test_a_changed_byte_in_an_export_is_reported(name, tmp_path):
    exchange.export_ctranslate2(load_bundle(POST_NORM), tmp_path / "out")
    assert "4 files match their checksums" in verify_checksums(tmp_path / "out")
    content = bytearray((tmp_path / "out" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: truncated or changed"):
        verify_checksums(tmp_path / "out")


def test_a_changed_byte_in_an_import_is_reported(tmp_path):
    write_marian(tmp_path / "opus")
    description = import_bundle("marian", [tmp_path / "opus"], tmp_path / "run")
    assert description.startswith("de (German) → en (English): 2 + 1 layers")
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
    assert command("check", tmp_path / "out")[:2] == (0, f"{tmp_path / 'out'}: 4 files match their checksums\n")
    assert command("check", POST_NORM)[0] == 0
    write_marian(tmp_path / "opus")
    assert command("import", "marian", tmp_path / "opus", tmp_path / "run")[0] == 0
    (tmp_path / "text").write_text("a b\n")
    code, out, _ = command("translate", tmp_path / "run", tmp_path / "text")
    assert (code, out.count("\n")) == (0, 1)


def test_user_errors(command, tmp_path, monkeypatch):
    """Each command exits with code 2, prints one line, and changes no files."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    write_marian(tmp_path / "opus")
    run, blank = tmp_path / "run", tmp_path / "blank"
    blank.write_text("\n \n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for message, arguments in {
        "Choose ctranslate2, marian, marian-native, argos": ("export", POST_NORM, run, "--format", "onnx"),
        "the Marian exports are fp32": ("export", POST_NORM, run, "--format", "marian", "--quantization", "int8"),
        "manifest.json": ("check", tmp_path),
        "format onnx": ("import", "onnx", POST_NORM, run),
        "no such file or folder": ("import", "marian", tmp_path / "missing", run),
        "import marian takes a folder": ("import", "marian", run),
        "0 of the files are models": ("import", "marian", tmp_path / "opus", tmp_path / "opus", run),
        "give both languages": ("import", "marian", tmp_path / "opus", run, "--from", "de"),
        "nothing to compare": ("export", POST_NORM, run, "--format", "marian", "--test", blank, blank),
        ". already exists": ("export", POST_NORM, ".", "--format", "marian"),
        "out already exists": ("export", POST_NORM, tmp_path / "out", "--format", "marian"),
        "out is not empty: give a new": ("import", "marian", tmp_path / "opus", tmp_path / "out"),
    }.items():
        code, out, error = command(*arguments)
        assert (code, out) == (2, "")
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
    assert not run.exists()
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_languages_missing_in_the_model(tmp_path):
    write_marian(tmp_path / "opus")
    settings = tmp_path / "opus" / "tokenizer_config.json"
    without_languages = {key: value for key, value in json.loads(settings.read_text()).items() if "lang" not in key}
    settings.write_text(json.dumps(without_languages))
    with pytest.raises(UserError, match="--from CODE --to CODE"):
        import_bundle("marian", [tmp_path / "opus"], tmp_path / "run")
    import_bundle("marian", [tmp_path / "opus"], tmp_path / "run", "fi", "et")
    assert load_bundle(tmp_path / "run").languages == ("fi", "et")
