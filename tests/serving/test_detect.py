"""Language identification: the real confidence among all languages, and what the APIs do with it."""

from __future__ import annotations

import pytest
import requests

from allyouneed.serving.app import build_app
from allyouneed.serving.detection.detector import LanguageDetector
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving

ITALIAN = "Questa è una frase italiana piuttosto lunga, che nessun modello di questo server traduce."
MARKUP = f"<p class='the and of to'>{ITALIAN}</p>"
GERMAN = "Dieser Satz ist auf Deutsch geschrieben und lang genug."

NOTHING = ("", " ", "12", "3,50 €", "?", "🙂", "https://example.com", "a@b.de", "{name}", "\n\t", "½")
HOSTILE = ("\ud800", "\0" * 3000, "a" * 3000, "ا" * 2001, "x\u0301" * 900, "<" * 3000, "𠀀" * 600, "7" * 600 + "a")


def detect(text: str, *languages: str):
    languages = languages or ("de", "en")
    return LanguageDetector(languages).detect(text, languages)


@pytest.mark.parametrize("languages", [("de",), ("de", "en"), ("en", "de", "ko"), ("ko",), ("zh-Hans", "ja")])
def test_a_language_that_is_not_served_is_named(languages):
    language, confidence = detect(ITALIAN, *languages)
    assert language == "it"
    assert confidence > 90


@pytest.mark.parametrize(
    ("text", "language", "least"),
    [
        (GERMAN, "de", 90),
        ("Hallo", "de", 20),
        ("Guten Morgen!", "de", 50),
        ("Hello", "en", 20),
        ("Good morning!", "en", 50),
        ("Thank you very much.", "en", 50),
        ("네", "ko", 90),
        ("안녕하세요", "ko", 90),
        ("こんにちは", "ja", 90),
        ("你好", "zh", 50),
        ("Привет, как дела?", "ru", 50),
        ("Γειά σου", "el", 90),
        ("שלום", "he", 50),
        ("สวัสดี", "th", 90),
        ("<b>Hallo</b> https://example.com/the/english/words/of/this/address {name}", "de", 20),
        ("GUTEN TAG, MEINE DAMEN UND HERREN", "de", 80),
    ],
)
def test_languages_that_are_served(text, language, least):
    found = detect(text, "de", "en", "ko", "ja", "zh", "ru", "el", "he", "th", "fr")
    assert found.language == language
    assert found.confidence >= least


@pytest.mark.parametrize("text", ["OK", "Ciao!", "Bonjour", "Angela Merkel", "Berlin", "a", "Taxi", "no"])
def test_short_texts_are_not_certain(text):
    found = detect(text, "de", "en")
    assert found.language in ("de", "en") or found.confidence >= 50
    if found.language in ("de", "en"):
        assert found.confidence < 75


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("Order #1234", "en"),
        ("OK", "en"),
        ("Menu", "en"),
        ("SELECT * FROM t;", "en"),
        ("Speichern", "de"),
        (GERMAN, "de"),
    ],
)
def test_an_uncertain_text_is_seldom_in_the_target_language(text, source):
    """`Order #1234` is German with 32 % and English with 12 %: someone who translates into German has English."""
    found = LanguageDetector(["de", "en"]).detect(text, ["en", "de"], "de")
    assert found.language == source
    assert found.is_certain == (source == "de")


@pytest.mark.parametrize("text", NOTHING)
def test_without_text_there_is_nothing_to_detect(text):
    assert detect(text) == ("de", 0.0)
    assert LanguageDetector(["de", "en"]).rank(text) == [("de", 0.0)]


def test_the_ranking_has_all_languages():
    ranking = LanguageDetector(["de", "en"]).rank("Ciao!")
    assert ranking[0].language == "it"
    assert sum(each.confidence for each in ranking) <= 101
    assert [each.confidence for each in ranking] == sorted((each.confidence for each in ranking), reverse=True)
    assert {"de", "it"} <= {each.language for each in LanguageDetector(["de", "en"]).rank("Hallo, ciao")} | {"de"}


def test_related_languages_count_for_the_one_that_is_served():
    bosnian = "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima."
    assert detect(bosnian, "hr", "en").language == "hr"
    norwegian = "Alle mennesker er født frie og med samme menneskeverd og menneskerettigheter."
    assert detect(norwegian, "no", "en").language == "no"
    assert detect(norwegian, "da", "nb").language == "nb"


def test_varieties_follow_the_script():
    for codes in (("zh-Hans", "zh-Hant"), ("zh-Hant", "zh-Hans")):
        assert detect("这是简体中文写的一个句子。", *codes).language == "zh-Hans"
        assert detect("這是用繁體中文寫的一個句子。", *codes).language == "zh-Hant"
    assert detect("这是简体中文写的一个句子。", "zh-Hant", "en").language == "zh-Hant"
    assert detect("Ово је реченица на српском језику.", "sr-Latn", "sr-Cyrl").language == "sr-Cyrl"
    assert detect("Ovo je rečenica na srpskom jeziku.", "sr-Cyrl", "sr-Latn").language == "sr-Latn"
    assert detect("Uma frase em português do Brasil.", "pt-BR", "en").language == "pt-BR"


def test_languages_that_the_identifier_does_not_know():
    assert detect("nuqneH, tlhIngan maH", "x-klingon", "en") == ("x-klingon", 0.0)
    assert detect(GERMAN, "x-klingon", "de").language == "de"
    assert LanguageDetector(["x-a", "x-b"]).rank("a b c") == [("x-a", 0.0)]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(text):
    assert 0 <= detect(text).confidence <= 100


@pytest.fixture(scope="module")
def german(registry):
    """A server from German and Korean to English; its models are toys."""
    [translator, *_] = registry.translators.values()
    pairs = {("de", "en"): translator, ("ko", "en"): translator}
    with serving(TranslatorRegistry(pairs), ServerSettings(threads=1, seconds=300)) as address:
        yield address


def test_a_text_of_another_language_is_refused(german, call):
    for path, body in (
        ("/translate", {"q": ITALIAN, "source": "auto", "target": "en"}),
        ("/translate", {"q": MARKUP, "source": "auto", "target": "en", "format": "html"}),
        ("/api/translate", {"q": ITALIAN, "target": "en"}),
        ("/api/stream", {"q": ITALIAN, "target": "en"}),
        ("/v2/translate", {"text": [ITALIAN, ITALIAN], "target_lang": "EN"}),
    ):
        response = call(german, path, **body)
        assert response.status_code == 400
        assert "the text seems to be in Italian (it)" in response.text
        assert "only from de, ko" in response.text


def test_each_text_of_a_batch_has_its_language(german, call):
    texts = [GERMAN, ITALIAN, "안녕하세요, 반갑습니다.", "This is an English sentence already.", "12"]
    found = call(german, "/translate", q=texts, source="auto", target="en").json()
    assert [each["language"] for each in found["detectedLanguage"]] == ["de", "it", "ko", "en", "de"]
    assert found["translatedText"][1] == ITALIAN
    assert found["translatedText"][3:] == texts[3:]
    found = call(german, "/v2/translate", text=texts, target_lang="EN").json()["translations"]
    assert [each["detected_source_language"] for each in found] == ["DE", "IT", "KO", "EN", "DE"]
    found = call(german, "/api/translate", q=texts, target="en").json()["translations"]
    assert found[1]["problems"][0].startswith("Not translated: the text seems to be in Italian (it)")
    assert not found[4]["problems"]


def test_short_texts_say_that_they_are_unsure(german, call):
    [found] = call(german, "/api/translate", q="Taxi", target="en").json()["translations"]
    assert found["problems"][0].startswith("The source language is uncertain: ")
    [found] = call(german, "/api/translate", q="Cancel", target="en").json()["translations"]  # copied
    assert (found["text"], found["detected"]["language"]) == ("Cancel", "en")
    assert found["problems"][0].startswith("The source language is uncertain: English (en) ")
    ranking = call(german, "/detect", q=ITALIAN).json()
    assert ranking[0]["language"] == "it"
    assert ranking[0]["confidence"] > 90
    assert call(german, "/detect", q="OK").json()[0]["confidence"] < 75
    assert call(german, "/detect", q="12").json() == [{"confidence": 0.0, "language": "de"}]


def test_documents_of_another_language_are_refused(german, call):
    files = {"file": ("a.txt", f"{ITALIAN}\n".encode())}
    response = requests.post(
        f"{german}/translate_file", files=files, data={"source": "auto", "target": "en"}, timeout=300
    )
    assert response.status_code == 400
    assert "seems to be in Italian (it)" in response.text
    job = requests.post(f"{german}/v2/document", files=files, data={"target_lang": "EN"}, timeout=300).json()
    status = call(german, f"/v2/document/{job['document_id']}", document_key=job["document_key"]).json()
    assert status["status"] == "error"
    assert "seems to be in Italian (it)" in status["error_message"]


def test_a_file_in_the_target_language_is_called_that(registry):
    [translator, *_] = registry.translators.values()
    state = build_app(TranslatorRegistry({("en", "de"): translator}), ServerSettings()).state.application
    assert state.route("auto", "de", "Order #1234")[0] == [("en", "de")]
    assert state.route("auto", "de", "Order #1234", is_file=True)[0] == []


@pytest.fixture
def call():
    return lambda address, path, **body: requests.post(address + path, json=body, timeout=300)
