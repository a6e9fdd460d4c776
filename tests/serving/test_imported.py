"""An imported Marian model behind the server, and target-language codes in front of texts."""

import json

import pytest
import requests

from allyouneed import Translator
from allyouneed.serving.registry import load_registry
from allyouneed.serving.server_settings import ServerSettings
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
    with serving(load_registry([IMPORTED]), ServerSettings(threads=1)) as address:
        yield address


def expected_text(imported: Translator, code: str = "") -> str:
    """Translate each sentence separately and join the translations with the original spacing."""
    one, two, three = (found.text for found in imported.translate([code + text for text in SENTENCES]))
    return f"{one}\n\n{two}\n  {three}"


def ask(server: str, path: str, **body) -> dict:
    return requests.post(server + path, json={"source": "de", "target": "en", **body}, timeout=300).json()


def test_an_imported_model_is_served(server, imported):
    assert ask(server, "/translate", q=TEXT)["translatedText"] == expected_text(imported)


def test_the_code_is_added_to_every_sentence(server, imported):
    assert expected_text(imported, CODE) != expected_text(imported)
    for text in (f"{CODE}{TEXT}", f"{CODE} {TEXT}", f" {CODE}\n{TEXT}"):
        assert ask(server, "/translate", q=text)["translatedText"] == expected_text(imported, CODE), text
    marked = ask(server, "/translate", q=f"{CODE} <p>{SENTENCES[0]}</p><p>{SENTENCES[1]}</p>", format="html")
    one, two = (found.text for found in imported.translate([f"{CODE} {text}" for text in SENTENCES[:2]]))
    unmarked = marked["translatedText"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert unmarked == f"<p>{one}</p><p>{two}</p>"


def test_positions_refer_to_the_whole_text(server):
    text = f"{CODE} {TEXT}"
    [translation] = ask(server, "/api/translate", q=text, words=True)["translations"]
    spans = [sentence["source"] for sentence in translation["sentences"]]
    assert [text[start:end] for start, end in spans] == SENTENCES
    linked = {tuple(link["source"]) for sentence in translation["sentences"] for link in sentence["alignment"]}
    assert {text[start:end] for start, end in linked} <= set(TEXT.split())


def test_the_code_is_added_to_streamed_sentences(server, imported):
    body = {"q": f"{CODE} {TEXT}", "source": "de", "target": "en"}
    events = requests.post(f"{server}/api/stream", json=body, timeout=300).content.decode()
    greedy = imported.translate([f"{CODE} {text}" for text in SENTENCES], beam_size=1)
    done = json.loads(events.rpartition("event: done\ndata: ")[2])
    assert done["text"] == "{}\n\n{}\n  {}".format(*(found.text for found in greedy))


def test_the_code_is_added_to_every_line_of_a_file(server, imported):
    lines = [" ".join("abcdefgh"[i % 8 :]) + "." for i in range(70)]  # more than one block
    form = {"source": "de", "target": "en"}
    files = {"file": ("a.txt", f"{CODE}\n" + "\n".join(lines))}
    url = requests.post(f"{server}/translate_file", data=form, files=files, timeout=300).json()["translatedFileUrl"]
    expected = [found.text for found in imported.translate([f"{CODE} {line}" for line in lines])]
    assert requests.get(url, timeout=300).content.decode().split("\n") == expected
