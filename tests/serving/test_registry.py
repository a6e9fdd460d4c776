"""Served languages by any of their codes, and models within one language."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import requests

from allyouneed.bundle import save_bundle
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.registry import TranslatorRegistry, load_registry
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving


def registry(*pairs: tuple[str, str]) -> TranslatorRegistry:
    return TranslatorRegistry({pair: SimpleNamespace(engine=None) for pair in pairs})


@pytest.mark.parametrize(
    ("requested", "served"),
    [
        *((code, "de") for code in ("de", "DE", "deu", " de ", "de-AT", "de_DE")),
        *((code, "zh-Hans") for code in ("zh", "zh_CN", "ZH-HANS", "zho_Hans")),
        ("pt", "pt-BR"),
        ("x-tree", "x-tree"),
        ("tree", "x-tree"),  # as bundles of earlier versions name it
    ],
)
def test_a_language_is_found_by_any_of_its_codes(requested, served):
    languages = registry(("de", "pt-BR"), ("en", "zh-Hans"), ("en", "x-tree"))
    assert languages.resolve(requested) == served


@pytest.mark.parametrize("requested", ["zh-TW", "fr", "", "German", "de,en", "x" * 5000])
def test_other_languages_are_refused(requested):
    with pytest.raises(ApiError, match="is not supported"):
        registry(("de", "en"), ("en", "zh-Hans")).resolve(requested)


def test_a_model_within_one_language_is_served():
    languages = registry(("de", "en"), ("de", "de"))
    assert languages.route("de", "de") == [("de", "de")]
    assert languages.targets("de") == ["de", "en"]
    assert registry(("de", "en")).targets("de") == ["en"]


def test_a_model_within_one_language_translates(translator):
    with serving(TranslatorRegistry({("aa", "aa"): translator}), ServerSettings(threads=1, seconds=300)) as address:
        body = {"q": "a b c", "source": "aa", "target": "aa"}
        answer = requests.post(f"{address}/translate", json=body, timeout=300).json()
    assert answer["translatedText"] == translator.translate(["a b c"])[0].text


def test_bundles_of_earlier_versions_are_served_by_their_canonical_codes(translator, tmp_path):
    save_bundle(replace(translator.bundle, languages=("German", "zh_hans")), tmp_path / "bundle")
    assert list(load_registry([tmp_path]).translators) == [("de", "zh-Hans")]
