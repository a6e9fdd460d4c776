"""Language codes: every way in which users write a language, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import allyouneed
from allyouneed.errors import UserError
from allyouneed.languages import (
    describe_language,
    describe_pair,
    language_code,
    language_name,
    language_remark,
    primary,
    same_language,
    stored_language_code,
)
from allyouneed.training.train import train
from tests.conftest import TOY, silent, toy_request


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((code, code) for code in ("de", "ko", "pt-BR", "zh-Hans", "zh-CN", "sr-Latn", "es-419", "quz", "x-klingon")),
        *((text, "de") for text in (" DE ", "deu", "ger", "German", "Deutsch", "allemand", "독일어", "deu_Latn")),
        *((text, "ko") for text in ("kor", "Korean", "한국어", "kor_Hang", "韩语")),
        *((text, "zh") for text in ("zho", "chi", "cmn", "Chinese", "中文", "Mandarin")),
        *((text, "zh-Hans") for text in ("zh_Hans", "zho_Hans", "Chinese (Simplified)", "简体中文")),
        *((text, "zh-Hant") for text in ("ZH-HANT", "Chinese, Traditional", "繁體中文")),
        *((text, "pt-BR") for text in ("pt_br", "por-BR", "Portuguese (Brazil)", "Brazilian Portuguese")),
        ("srp_Cyrl", "sr-Cyrl"),
        ("jpn_Jpan", "ja"),
        ("Français", "fr"),
        ("Francais", "fr"),
        ("Farsi", "fa"),
        ("iw", "he"),  # codes that ISO 639 withdrew
        ("in", "id"),
        ("tl", "tl"),  # CLDR has fil instead
        ("zh-yue", "yue"),
        ("ga", "ga"),  # Irish, although a language is named Ga
        ("de-x-Simple", "de-x-simple"),
        ("x_spelling", "x-spelling"),
        ("bb", "bb"),
    ],
)  # fmt: skip
def test_codes_and_names(text, code):
    assert language_code(text) == code
    assert language_code(code) == code, "a canonical code stays the same"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the language is empty. Give a code such as de"),
        (" ", "the language is empty"),
        ("de,fr", "de,fr: 2 languages; give one, for example de."),
        ("de fr", "2 languages"),
        ("ko-en", "ko-en: 2 languages; give one, for example ko."),
        ("Germn", "Germn: not a language; did you mean German (de)?"),
        ("Deutch", "did you mean Deutsch (de)?"),
        (
            "dates",
            "a name such as German. For text that is not a language: x-dates.",
        ),
        ("Tonga", "Tonga names several languages: give the code of to (Tongan) or tog (Nyasa Tonga)."),
        ("Sorbian", "did you mean dsb (Lower Sorbian) or hsb (Upper Sorbian)?"),
        ("auto", "not a language. Give a code such as de, or a name such as German."),
        ("x-", "not a language. Give a code such as de, or a name such as German."),
        ("de_DE.UTF-8", "not a language. Give a code such as de, or a name such as German."),
        ("a" + " " * 1_000_000 + "b", "has 1,000,002 characters, which is no language"),
        ("12", "not a language. Give a code such as de, or a name such as German."),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(UserError) as raised:
        language_code(text)
    assert message in str(raised.value)


def test_codes_of_earlier_versions_are_kept_as_private_codes():
    assert [stored_language_code(text) for text in ("German", "tree", "ROMANCE", "de,fr", "")] == [
        *("de", "x-tree", "x-romance", "de,fr", "")
    ]


def test_parts_and_relations_of_codes():
    assert [primary(code) for code in ("zh-Hans", "pt-BR", "en-x-simple", "x-klingon", "ko")] == [
        *("zh", "pt", "en", "x-klingon", "ko")
    ]
    related = [("zh", "zh-CN"), ("zh-CN", "zh-Hans"), ("zh-TW", "zh-Hant"), ("pt", "pt-BR"), ("en-GB", "en-US")]
    assert all(same_language(*pair) for pair in related)
    unrelated = [("zh-CN", "zh-TW"), ("sr", "sr-Latn"), ("de", "de-x-simple"), ("x-a", "x-b"), ("de", "nl")]
    assert not any(same_language(*pair) for pair in unrelated)


def test_names_and_remarks():
    assert [describe_language(code) for code in ("de", "zh-Hans", "quz", "x-klingon")] == [
        *("de (German)", "zh-Hans (Simplified Chinese)", "quz", "x-klingon")
    ]
    assert (language_name("de-x-formal"), language_name("de-x-formal", native=True)) == (
        "German (formal)",
        "Deutsch (formal)",
    )
    assert (language_name("ko", native=True), language_name("no code", native=True)) == ("한국어", "no code")
    assert not any(language_remark(code) for code in ("de", "quz", "x-klingon", "de-x-simple", "qaa", "mul"))
    assert "the language of that country is ja (Japanese)" in language_remark("jp")
    assert describe_pair("ko", "en") == ["ko (Korean) → en (English)"]
    assert "source and target are both de" in describe_pair("de", "de")[1]


def test_importing_the_package_does_not_load_names():
    code = "import sys, allyouneed, allyouneed.cli; sys.exit('allyouneed.languages' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def started(folder: Path, *languages: str) -> Path:
    """Make a run of no steps with languages as an earlier version stored them."""
    request = toy_request(folder / "text", folder / "run", ["training.steps=2", "training.validate_every=2"])
    train(request, silent())
    record = request.out / "run.json"
    content = json.loads(record.read_text())
    del content["checksum"]  # earlier versions wrote none
    content["asked"]["languages"] = list(languages)
    record.write_text(json.dumps(content))
    return request.out


def test_runs_of_earlier_versions_are_repeated_with_their_own_languages(tmp_path):
    run = started(tmp_path, "German", "dates")
    arguments = {
        "train": sorted((tmp_path / "text").glob("train*")),
        "valid": sorted((tmp_path / "text").glob("valid*")),
    }
    arguments |= {"out": run, "recipe": "tiny", "quiet": True}
    settings = [*TOY, "training.steps=2", "training.validate_every=2"]
    for source, target in (("German", "dates"), ("de", "x-dates"), ("Deutsch", "x-dates")):
        assert allyouneed.train(source=source, target=target, settings=settings, **arguments).run == run
    with pytest.raises(UserError, match="was started with --from"):
        allyouneed.train(source="nl", target="x-dates", settings=settings, **arguments)
    with pytest.raises(UserError, match="Germn: not a language; did you mean German"):
        allyouneed.train(source="Germn", target="x-dates", settings=settings, **arguments)
