"""A Marian model that was imported, behind the server; and the code in front of a text that tells a multilingual model
what to translate into."""

import json

import pytest
import requests

from allyouneed import Translator
from allyouneed.serving.pairs import load_pairs
from allyouneed.serving.server_settings import Settings
from tests.compat import IMPORTED
from tests.serving.conftest import serving

CODE = ">>fr<<"
TEXT = "a b c d.\n\nd c b.\n  h g a b c."
SENTENCES = ["a b c d.", "d c b.", "h g a b c."]


@pytest.fixture(scope="module")
def imported() -> Translator:
    return Translator.load(IMPORTED)


@pytest.fixture(scope="module")
def server(imported):
    with serving(load_pairs([IMPORTED]), Settings(threads=1)) as address:
        yield address


def said(imported: Translator, before: str = "") -> str:
    """Each sentence by itself, joined as they were."""
    one, two, three = (found.text for found in imported.translate([before + text for text in SENTENCES]))
    return f"{one}\n\n{two}\n  {three}"


def ask(server: str, path: str, **body) -> dict:
    return requests.post(server + path, json={"source": "de", "target": "en", **body}, timeout=60).json()


def test_it_is_served_as_any_other(server, imported):
    assert ask(server, "/translate", q=TEXT)["translatedText"] == said(imported)


def test_the_code_reaches_every_sentence(server, imported):
    assert said(imported, CODE) != said(imported)
    for text in (f"{CODE}{TEXT}", f"{CODE} {TEXT}", f" {CODE}\n{TEXT}"):
        assert ask(server, "/translate", q=text)["translatedText"] == said(imported, CODE), text
    marked = ask(server, "/translate", q=f"{CODE} <p>{SENTENCES[0]}</p><p>{SENTENCES[1]}</p>", format="html")
    one, two = (found.text for found in imported.translate([f"{CODE} {text}" for text in SENTENCES[:2]]))
    unmarked = marked["translatedText"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert unmarked == f"<p>{one}</p><p>{two}</p>"


def test_places_are_those_of_the_whole_text(server):
    text = f"{CODE} {TEXT}"
    [translation] = ask(server, "/api/translate", q=text, words=True)["translations"]
    places = [sentence["source"] for sentence in translation["sentences"]]
    assert [text[start:end] for start, end in places] == SENTENCES
    linked = {tuple(link["source"]) for sentence in translation["sentences"] for link in sentence["alignment"]}
    assert {text[start:end] for start, end in linked} <= set(TEXT.split())


def test_it_is_said_word_by_word_too(server, imported):
    body = {"q": f"{CODE} {TEXT}", "source": "de", "target": "en"}
    told = requests.post(f"{server}/api/stream", json=body, timeout=60).content.decode()
    greedy = imported.translate([f"{CODE} {text}" for text in SENTENCES], beam_size=1)
    done = json.loads(told.rpartition("event: done\ndata: ")[2])
    assert done["text"] == "{}\n\n{}\n  {}".format(*(found.text for found in greedy))


def test_the_code_reaches_every_line_of_a_file(server, imported):
    lines = [" ".join("abcdefgh"[i % 8 :]) + "." for i in range(70)]  # more than go at once
    form = {"source": "de", "target": "en"}
    files = {"file": ("a.txt", f"{CODE}\n" + "\n".join(lines))}
    url = requests.post(f"{server}/translate_file", data=form, files=files, timeout=60).json()["translatedFileUrl"]
    expected = [found.text for found in imported.translate([f"{CODE} {line}" for line in lines])]
    assert requests.get(url, timeout=60).content.decode().split("\n") == expected
