"""JSON and JSON lines: values are translated, every other byte is kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def document(text: str, name: str = "a.json", source: str = "en", target: str = "de", columns=None):
    return read_document(text.encode(), ReadOptions(name, source, target, columns=columns))


def texts(read) -> list[str]:
    return [segment.text for segment in read.segments]


def in_capitals(read) -> str:
    return read.write([(segment.text.upper(),) for segment in read.segments]).decode()


@settings(max_examples=100, deadline=None)
@given(VALUES, st.sampled_from([None, 1, 4, "\t"]), st.booleans())
def test_identity_keeps_every_byte(value, indent, escapes):
    text = json.dumps(value, indent=indent, ensure_ascii=escapes)
    if not escapes:
        text = text.encode("utf-8", "ignore").decode()
    read = document(text)
    assert read.write([segment.source for segment in read.segments]).decode() == text
    assert read.write([None for _ in read.segments]).decode() == text


@settings(max_examples=100, deadline=None)
@given(VALUES, st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_translations_are_read_back_by_json(value, translation):
    read = document(json.dumps(value), source="und", target="und")
    written = json.loads(read.write([(translation,) for _ in read.segments]))
    expected = set(texts(read))

    def replaced(old):
        if isinstance(old, dict):
            return {key: old[key] if key.startswith("@") else replaced(old[key]) for key in old}
        if isinstance(old, list):
            return [replaced(each) for each in old]
        return translation if isinstance(old, str) and old in expected else old

    if '"message"' not in json.dumps(value) and '"@' not in json.dumps(value):
        assert written == replaced(json.loads(json.dumps(value)))


def test_layout_keys_numbers_and_comments_are_kept():
    text = '\ufeff{ // note\r\n\t"title" :"The dog",  "n":[1.50, true,"a cat" ,],\r\n "The dog":null}\r\n'
    assert in_capitals(document(text)) == text.replace('"The dog",', '"THE DOG",').replace("a cat", "A CAT")


def test_escapes_are_those_of_the_file():
    assert in_capitals(document('["a \\u00fc", "<b>\\/x y"]')) == '["A \\u00dc", "<B>\\/X Y"]'
    assert in_capitals(document('["a ü\u2028"]')) == '["A Ü\\u2028"]'
    assert in_capitals(document('["a \\u003ci\\u003e"]')) == '["A \\u003cI\\u003e"]'


def test_identifiers_paths_and_addresses_are_not_translated():
    values = ["https://a.b/c", "src/main.py", "max_size", "camelCase", "v1.2", "#fff", "12", "{{count}}", "a@b.de"]
    prose = ["Save", "<b>Save</b>", "{{count}} items", "Note:", "저장", "OK?", "e-mail"]
    read = document(json.dumps(values + prose))
    assert texts(read) == prose
    assert read.notes == ("8 values that are identifiers, paths or addresses are not translated.",)


def test_messages_of_chrome():
    text = (
        '{"hi": {"message": "Hello $NAME$", "description": "A greeting", "placeholders": {"name": {"content": "$1"}}}}'
    )
    assert texts(document(text)) == ["Hello $NAME$"]


def test_metadata_of_flutter():
    text = '{"@@locale": "en", "hi": "Hello you", "@hi": {"description": "A greeting"}}'
    assert texts(document(text, "app_en.arb")) == ["Hello you"]


def test_selected_keys():
    assert texts(document('{"a": "one dog", "b": {"c": "two", "d": ["three"]}}', columns=("c", "d"))) == [
        "two",
        "three",
    ]


def test_plural_forms_of_i18next_are_completed():
    text = '{\n  "n_one": "a file",\n  "n_other": "many files"\n}\n'
    forms = json.loads(in_capitals(document(text, target="ru")))
    assert forms == {"n_one": "A FILE", "n_other": "MANY FILES", "n_few": "MANY FILES", "n_many": "MANY FILES"}
    assert '"MANY FILES",\n  "n_few": ' in in_capitals(document(text, target="ru"))
    assert json.loads(in_capitals(document(text))).keys() == {"n_one", "n_other"}


def test_records_with_a_key_per_language_are_filled_in():
    lines = (
        '{"translation": {"en": "a dog"}, "id": "x 1"}\n'
        '{"translation": {"en": "a cat", "de": "eine Katze", "fr": "un chat"}}\n'
        '{"en": "a bird", "de": ""}\n'
    )
    read = document(lines, "a.jsonl")
    assert [(s.text, s.target, s.is_finished) for s in read.segments] == [
        ("a dog", None, False),
        ("x 1", None, False),
        ("a cat", ("eine Katze",), True),
        ("a bird", None, False),
    ]
    assert read.write([("ein Hund",), None, None, ("ein Vogel",)]).decode() == (
        lines.replace('"a dog"', '"a dog", "de": "ein Hund"').replace('"de": ""', '"de": "ein Vogel"')
    )


def test_parts_of_languages_are_filled_in():
    text = """{
  "en": {
    "menu": {
      "open": "Open it",
      "deep": {"a": ["One dog", "x_1"], "b": "Two dogs", "n": 1}
    },
    "done": "Done now"
  },
  "de": {
    "menu": {
      "open": ""
    },
    "done": "Fertig"
  },
  "fr": {}
}
"""
    read = document(text)
    assert [(s.text, s.target, s.is_finished) for s in read.segments] == [
        ("Open it", None, False),
        ("One dog", None, False),
        ("Two dogs", None, False),
        ("Done now", ("Fertig",), True),
    ]
    assert in_capitals(read).replace("DONE NOW", "Fertig") == text.replace(
        """      "open": ""
""",
        """      "open": "OPEN IT",
      "deep": {"a": ["ONE DOG", "x_1"], "b": "TWO DOGS", "n": 1}
""",
    )
    french = json.loads(in_capitals(document(text, target="fr")))
    assert french["fr"] == {
        "menu": {"open": "OPEN IT", "deep": {"a": ["ONE DOG", "x_1"], "b": "TWO DOGS", "n": 1}},
        "done": "DONE NOW",
    }
    assert texts(document(text, target="ru")) == ["Open it", "One dog", "Two dogs", "Done now", "Fertig"]
    nested = '{"app": {"messages": {"en": {"a": {"b": "Two dogs"}}, "de": {"a": {}}}}}'
    assert in_capitals(document(nested)) == nested.replace("{}", '{"b": "TWO DOGS"}')


def test_members_of_the_same_name_are_no_parts():
    text = '{"en": {"a": "one x"}, "en": {"a": "two x", "a": "three x", "b": "four x"}, "de": {"a": ""}}'
    expected = '{"en": {"a": "ONE X"}, "en": {"a": "TWO X", "a": "three x", "b": "four x"}, '
    assert in_capitals(document(text)) == expected + '"de": {"a": "THREE X", "b": "FOUR X"}}'


def test_positions():
    read = document('{"a": {"b": ["x y",\n "z w"]}}')
    assert [segment.where for segment in read.segments] == ["line 1: a.b.0", "line 2: a.b.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not valid JSON: there is no value"),
        ('{"a": "b"', "a comma or } is missing here"),
        ('["a"\n"b"]', "line 2: not valid JSON: a comma or ] is missing here"),
        ('{"a" "b"}', "a colon is missing here"),
        ('["a', "a value is missing here|not closed"),
        ("[1] [2]", "something follows the value"),
        ("[" * 5_000, "more than 1,000 levels"),
    ],
)
def test_damage_is_reported_with_its_line(text, message):
    with pytest.raises(UserError, match=message):
        document(text)


def test_long_input_takes_linear_time():
    assert len(document('["a b", ' * 1 + '"c d",' * 200_000 + "1]").segments) == 200_001
    with pytest.raises(UserError):
        document('{"' * 100_000)
    assert document(json.dumps(["{" * 200_000])).segments == []
