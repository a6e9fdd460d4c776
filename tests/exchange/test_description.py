"""`allyouneed info`: facts about our own and other systems' models, and about what cannot be imported."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from allyouneed.bundle import load_bundle
from allyouneed.exchange import export_bundle
from allyouneed.exchange.description import describe_model
from allyouneed.exchange.exporter import FORMATS, refusal
from allyouneed.exchange.reading.licence import find_licence
from tests.compat import POST_NORM, PRE_NORM
from tests.exchange.opus import write_marian


def described(path):
    return json.loads(describe_model(path, as_json=True))


def test_a_bundle():
    bundle = load_bundle(PRE_NORM)
    facts = described(PRE_NORM)
    assert (facts["is"], facts["system"]) == ("a bundle", "allyouneed")
    assert facts["parameters"] == sum(each.numel() for each in bundle.model.parameters())
    assert facts["vocabulary"] == [len(bundle.tokenizer)]
    assert facts["differs from the paper"]["norm"] == "pre"
    assert facts["can become"]["ctranslate2"] is True
    assert "Marian supports only post" in facts["can become"]["marian"]
    text = describe_model(PRE_NORM)
    assert f"parameters               {facts['parameters']:,}" in text
    assert "export to marian-native  yes" in text


@pytest.mark.parametrize("path", [PRE_NORM, POST_NORM])
@pytest.mark.parametrize("format", FORMATS)
def test_what_it_says_of_exports_is_true(path, format, tmp_path):
    reason = refusal(load_bundle(path), format)
    if reason is None:
        export_bundle(path, format, tmp_path / "out", print_line=lambda _: None)
    else:
        with pytest.raises(Exception, match=reason.split(":")[0]):
            export_bundle(path, format, tmp_path / "out")


def test_a_marian_folder_with_a_licence(tmp_path):
    write_marian(tmp_path / "opus")
    (tmp_path / "opus" / "README.md").write_text("---\nlanguage: de\nlicense: cc-by-4.0\n---\nlicense: none\n")
    facts = described(tmp_path / "opus")
    assert facts["is"] == "a Marian model in the format of Hugging Face"
    assert (facts["languages"], facts["licence"]) == ("de → en", "cc-by-4.0 (README.md)")
    assert facts["differs from the paper"]["activation"] == "swish"
    assert "import it with" in describe_model(tmp_path / "opus")
    assert list(tmp_path.iterdir()) == [tmp_path / "opus"]


def test_without_languages_and_damaged(tmp_path):
    write_marian(tmp_path / "opus")
    (tmp_path / "opus" / "tokenizer_config.json").write_text("{}")
    assert described(tmp_path / "opus")["languages"] is None
    assert "languages                not named" in describe_model(tmp_path / "opus")
    (tmp_path / "opus" / "source.spm").unlink()
    facts = described(tmp_path / "opus")
    assert "source.spm: missing" in facts["cannot be imported"]
    assert "can become" not in facts


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: [mit, 'apache-2.0']", "mit, apache-2.0"),
        ("license:\n- mit\n  - cc0-1.0\nlanguage: de", "mit, cc0-1.0"),
        ('license: other\nlicense_name: "company"', "company"),
        ("licence:   \nlanguage: de", None),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_licence_of_a_model_card(head, licence, mark, tmp_path):
    (tmp_path / "README.md").write_text(f"{mark}---\n{head}\n---\n# A model\n", encoding="utf-8")
    assert find_licence(tmp_path) == (f"{licence} (README.md)" if licence else None)


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("LICENSE.md", "\n# MIT License\n\nCopyright ...\n", "MIT License (LICENSE.md)"),
        ("LICENCE.md", "---\nlicense: cc0-1.0\n---\nText\n", "cc0-1.0 (LICENCE.md)"),
        ("COPYING.txt", "===\n**GNU GENERAL PUBLIC LICENSE**\n", "GNU GENERAL PUBLIC LICENSE (COPYING.txt)"),
        ("README.md", "# A model\nmit\n", None),
    ],
)
def test_the_licence_of_a_text(name, text, licence, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert find_licence(tmp_path) == licence


def test_a_model_card_that_does_not_begin(tmp_path):
    """Patterns that match white space in several ways would take a minute."""
    (tmp_path / "README.md").write_text("---" + "\n" * (1 << 16))
    assert find_licence(tmp_path) is None


def test_the_licence_of_an_archive_is_inside_it(tmp_path):
    (tmp_path / "LICENSE").write_text("Of another thing\n")
    with zipfile.ZipFile(tmp_path / "opus.zip", "w") as archive:
        archive.writestr("model/LICENSE", "\nCC-BY 4.0\n")
    assert find_licence(tmp_path / "opus.zip") == "CC-BY 4.0 (LICENSE)"
    zipfile.ZipFile(tmp_path / "opus.zip", "w").close()
    assert find_licence(tmp_path / "opus.zip") is None


@pytest.mark.parametrize("missing", ["source.spm", "vocab.json", "model.safetensors"])
def test_a_marian_folder_without_a_file(missing, tmp_path):
    write_marian(tmp_path / "opus")
    whole = described(tmp_path / "opus")
    (tmp_path / "opus" / missing).rename(tmp_path / "opus" / "pytorch_model.bin")
    facts = described(tmp_path / "opus")
    assert f"{missing}: missing" in facts["cannot be imported"]
    names = "layers", "d_model", "d_ff", "heads", "differs from the paper"
    assert [facts[name] for name in names] == [whole[name] for name in names]
    added = whole["vocabulary"][0] - facts["vocabulary"][0]  # the start token
    assert added == 1
    assert facts["parameters"] == whole["parameters"] - added * (facts["d_model"] + 1)
    assert "parameters" in describe_model(tmp_path / "opus")


def test_the_command_that_imports_takes_what_the_reader_takes():
    path = Path(__file__).parent / "data" / "ctranslate2-int8" / "model.bin"
    facts = described(path)
    assert (facts["model"], facts["import"]) == (str(path), str(path.parent))
    assert f"import ctranslate2 {path.parent} RUN --from CODE --to CODE" in describe_model(path)


def test_a_native_model_without_vocabulary(tmp_path):
    data = Path(__file__).parent / "data" / "marian"
    for name, layers in (("transformer-new.npz", [1, 1]), ("transformer.intgemm8.bin", [1, 2])):
        copied = tmp_path / name
        copied.write_bytes((data / name).read_bytes())
        facts = described(copied)
        assert "0 vocabularies" in facts["cannot be imported"]
        assert facts["layers"] == layers
        assert facts["parameters"] > facts["vocabulary"][0] * facts["d_model"]


def test_the_command(command, tmp_path):
    code, out, error = command("info", POST_NORM)
    assert (code, error) == (0, "")
    assert out.startswith(f"{POST_NORM}: a bundle\n")
    (tmp_path / "text").write_text("Ein Hund rennt.")
    code, out, error = command("info", tmp_path / "text")
    assert (code, out) == (2, "")
    assert "not recognised" in error
