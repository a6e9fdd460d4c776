"""Problems of translations in answers of all APIs; the clients of the others ignore them."""

from __future__ import annotations

import deepl
import pytest
import requests
from libretranslatepy import LibreTranslateAPI

from allyouneed.documents.document_translation import Remark
from allyouneed.serving.apis.problems import document_fields, text_fields

UNCHANGED = "is unchanged in the translation."


@pytest.fixture
def unchanged(monkeypatch):
    """Every sentence counts as unchanged."""
    for module in ("serving.pipeline.text_pipeline", "documents.segment_translation"):
        monkeypatch.setattr(f"allyouneed.{module}.is_unchanged", lambda sentence, translation: True)


def test_problems_of_texts(post, unchanged):
    answer = post("/translate", q=["a b", "c d"], source="aa", target="bb").json()
    assert [[UNCHANGED in each for each in problems] for problems in answer["problems"]] == [[True], [True]]
    answer = post("/translate", q="a <b>b</b>", source="aa", target="bb", format="html").json()
    assert [UNCHANGED in each for each in answer["problems"]] == [True]
    [answer] = post("/v2/translate", text=["a b"], source_lang="AA", target_lang="BB").json()["translations"]
    assert [UNCHANGED in each for each in answer["problems"]] == [True]


def test_problems_of_documents(address, unchanged):
    file = {"file": ("a.txt", b"a b. c d.\n")}
    answer = requests.post(f"{address}/translate_file", files=file, data={"source": "aa", "target": "bb"}).json()
    assert answer["unchanged"] >= 1
    client = deepl.DeepLClient("any", server_url=address)
    handle = client.translate_document_upload(b"a b. c d.\n", source_lang="AA", target_lang="BB", filename="a.txt")
    assert client.translate_document_wait_until_done(handle, 5).done
    form = {"document_key": handle.document_key}
    assert requests.post(f"{address}/v2/document/{handle.document_id}", json=form).json()["unchanged"] >= 1


def test_clients_ignore_problems(address, unchanged):
    assert isinstance(LibreTranslateAPI(address).translate("a b c", "aa", "bb"), str)
    client = deepl.DeepLClient("any", server_url=address)
    assert client.translate_text("a b c", source_lang="AA", target_lang="BB").text


def test_fields_without_problems_are_left_out():
    assert text_fields([]) == document_fields([], 0) == {}
    assert text_fields(["x"] * 200) == {"problems": ["x"] * 100}
    assert document_fields([Remark("line 1", "lost", "a", "b")], 2) == {
        "problems": [{"where": "line 1", "message": "lost"}],
        "unchanged": 2,
    }
