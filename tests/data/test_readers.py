"""Files that are not lines of text: JSON documents, Parquet, Arrow, workbooks, and what is wrong with them."""

import gzip
import json
from pathlib import Path

import pytest

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs, reading_notes
from allyouneed.errors import UserError

ROWS = [{"id": str(i), "translation": {"de": f"Hund {i}", "en": f"dog {i}", "fr": f"chien {i}"}} for i in range(3)]
TEXTS = [row["translation"] for row in ROWS]
HUB = [{"translation": {"language": [*each], "translation": [*each.values()]}} for each in TEXTS]
LISTS = [{"id": 1, "texts": [{"lang": code, "text": text} for code, text in each.items()]} for each in TEXTS]
EXPECTED = [(f"Hund {i}", f"dog {i}") for i in range(3)]


def texts(path, languages=("de", "en"), columns=(1, 2)):
    chosen = columns_for([path], columns, languages)
    pairs = list(read_pairs([path], chosen))
    assert count_pairs([path], chosen) == len(pairs)
    return [(pair.source, pair.target) for pair in pairs]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"version": 1, "data": ROWS}),
        json.dumps({"version": 1, "data": ROWS}, indent=1),
        json.dumps({name: [row["translation"][name] for row in ROWS] for name in ("de", "en", "fr")}),
        json.dumps([{"text": row["translation"]} for row in ROWS]),
        "\n".join(json.dumps(row) for row in ROWS),
        "\n".join(map(json.dumps, LISTS)),
        "\n".join(map(json.dumps, HUB)),
        json.dumps({"de": ["Hund 0", "Hund 1"], "en": ["dog 0", "dog 1"]}) + '\n{"de": "Hund 2", "en": "dog 2"}\n',
    ],
    ids=["array", "indented", "object", "indented object", "columns", "nested", "lines", "list", "hub", "in lines"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_all_forms(tmp_path, content, encoding):
    (tmp_path / "a").write_text(content, encoding=encoding)
    assert texts(tmp_path / "a") == EXPECTED
    assert texts(tmp_path / "a", ("en", "de")) == [(target, source) for source, target in EXPECTED]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "document",
    [
        {"name": "corpus", "license": "CC", "data": ROWS},
        {"meta": {"name": "corpus", "license": "CC"}, "data": {"train": ROWS}},
        {"schema": {"fields": [{"name": "de", "type": "string"}], "pandas_version": "1.4.0"}, "data": TEXTS},  # "table"
        {"columns": ["de", "en"], "index": [0, 1, 2], "data": [[each["de"], each["en"]] for each in TEXTS]},  # "split"
        {code: {str(index): each[code] for index, each in enumerate(TEXTS)} for code in ("en", "de")},  # "columns"
        {str(index): each for index, each in enumerate(TEXTS)},  # "index"
        {"name": "corpus", "license": "CC", **{code: [each[code] for each in TEXTS] for code in ("de", "en")}},
    ],
    ids=["title", "nested title", "table", "split", "columns", "index", "lists"],
)
def test_records_are_found_beside_other_texts(tmp_path, document, indent):
    """Also in the forms of `DataFrame.to_json` of pandas."""
    (tmp_path / "a").write_text(json.dumps(document, indent=indent))
    assert texts(tmp_path / "a") == EXPECTED


MESSAGES = {
    "de": {"menu": {"open": "Hund 0", "edit": {"undo": "Hund 1"}}, "bye": "Hund 2", "only": "nur"},
    "en": {"menu": {"open": "dog 0", "edit": {"undo": "dog 1"}}, "bye": "dog 2"},
}
RICH = [{code: {"id": f"x{i}", "text": text} for code, text in each.items()} for i, each in enumerate(TEXTS)]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "document",
    [
        MESSAGES,
        {"format": 2, "messages": MESSAGES},
        {"translations": {f"key {index}": each for index, each in enumerate(TEXTS)}},
        {"app": {"menu": {"a": TEXTS[0], "b": TEXTS[1]}, "bye": TEXTS[2]}},
        {"a": {"b": {"c": {"rows": TEXTS}}}},
        {"documents": [{"title": "one", "segments": TEXTS[:1]}, {"title": "two", "segments": TEXTS[1:]}]},
        [{"title": "one", "segments": TEXTS[:1]}, {"title": "two", "segments": TEXTS[1:]}],
        {"data": {"train": {code: [each[code] for each in TEXTS] for code in ("de", "en")}}},
        {"data": {"train": {"pairs": RICH}}},
        RICH,
        {"data": {"train": {f"{index}": each for index, each in enumerate(RICH)}}},
        {"data": [{"example": {"translation": each}} for each in TEXTS]},
    ],
    ids=["messages", "inner messages", "by key", "by keys", "deep list", "documents", "document array", "deep columns",
         "objects", "array of objects", "objects by key", "deep translation"],
)  # fmt: skip
def test_json_that_is_nested_deeply(tmp_path, document, indent):
    (tmp_path / "a").write_text(json.dumps(document, indent=indent))
    pairs = [pair for pair in texts(tmp_path / "a") if not pair[0].startswith("x")]
    assert pairs == EXPECTED


def test_json_lines_that_are_nested_deeply(tmp_path):
    for rows in (RICH, [{"example": {"meta": {"n": "1"}, "texts": each}} for each in RICH]):
        (tmp_path / "a").write_text("\n".join(map(json.dumps, rows)))
        assert texts(tmp_path / "a") == EXPECTED
        assert texts(tmp_path / "a", ("fr", "de"))[2] == ("chien 2", "Hund 2")


def test_a_file_with_many_lines_that_are_not_objects_is_refused(tmp_path):
    (tmp_path / "a").write_text('{"de": "Hund", "en": "dog"}\n' * 5 + "not an object\n[]\n")
    message = r"a: 2 of 7 lines cannot be used; the first is line 6 \(not a JSON object: 'not an object'\)\. Each line"
    with pytest.raises(UserError, match=message):
        texts(tmp_path / "a")


def test_arrays_of_texts_have_numbered_columns(tmp_path):
    for content in ('[["eins","one"],\n["zwei","two"]]', '["eins","one"]\n["zwei","two"]\n'):
        (tmp_path / "a").write_text(content)
        assert texts(tmp_path / "a") == [("eins", "one"), ("zwei", "two")]
        assert texts(tmp_path / "a", columns=(2, 1)) == [("one", "eins"), ("two", "zwei")]


def test_lists_of_different_lengths_are_dropped_and_others_are_read(tmp_path):
    (tmp_path / "a").write_text('{"de": ["a", "b"], "en": ["x", "y"]}\n{"de": ["a"], "en": ["x", "y"]}\n')
    assert [pair.fault for pair in read_pairs([tmp_path / "a"])] == [None, None, "lists of different lengths"]


def test_a_long_array_is_read_in_parts_with_the_right_lines(tmp_path):
    elements = [json.dumps({"de": "x" * (i % 997), "en": f"{i}\n"}, indent=i % 3 or None) for i in range(2000)]
    content = "[\n" + ",\n\n".join(elements) + "\n]\n"
    (tmp_path / "a").write_text(content)
    pairs = list(read_pairs([tmp_path / "a"]))
    assert [(pair.source, pair.target) for pair in pairs] == [("x" * (i % 997), str(i)) for i in range(2000)]
    starts = [content.index(element, i) for i, element in enumerate(elements)]
    assert [pair.line for pair in pairs] == [content.count("\n", 0, start) + 1 for start in starts]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"de": "a", "en": "b"},\n{"de": "c" "en": "d"}]', r"a:2: not valid JSON \(expecting ',' delimiter"),
        ('[{"de": "a", "en": "b"},\n{"de": "c", "en"', r"a:2: not valid JSON"),
        ('{\n"de": [["a",', r"a:2: not valid JSON"),
        ('[{"de": "a", "en": "b"},\n' + 200_000 * "[", r"a:2: not valid JSON \(too deeply nested\)"),
        ('[{"de": "a"}]', "records have 1 fields with text"),
    ],
)  # fmt: skip
def test_damaged_json_names_the_line(tmp_path, content, message):
    (tmp_path / "a").write_text(content)
    with pytest.raises(UserError, match=message):
        texts(tmp_path / "a")


def test_parquet_and_arrow(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    with pa.ipc.new_stream(tmp_path / "c.arrow", table.schema) as writer:  # as data sets are saved to disk
        writer.write_table(table, max_chunksize=2)
    with pa.ipc.new_file(tmp_path / "d.feather", table.schema) as writer:
        writer.write_table(table)
    pq.write_table(pa.Table.from_pylist(HUB), tmp_path / "e.parquet")
    for name in ("a.parquet", "b", "c.arrow", "d.feather", "e.parquet"):
        assert texts(tmp_path / name) == EXPECTED
    assert texts(tmp_path / "a.parquet", columns=("fr", "translation.de"))[0] == ("chien 0", "Hund 0")
    assert (
        "source is 'translation.de'"
        in reading_notes([tmp_path / "a.parquet"], columns_for([tmp_path / "a.parquet"], (1, 2), ("de", "en")))[0]
    )
    with pytest.raises(UserError, match=r"no column named 'sv'; the columns are id, translation\.de"):
        texts(tmp_path / "a.parquet", columns=("de", "sv"))


def test_columns_of_parquet_may_be_empty_coded_or_of_numbers(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"n": [1, 2], "source": ["a", None], "target": pa.array(["x", "y"]).dictionary_encode()}
    pq.write_table(pa.table(columns), tmp_path / "a")
    assert texts(tmp_path / "a") == [("a", "x"), ("", "y")]
    pq.write_table(pa.table({"n": [1], "source": ["a"]}), tmp_path / "b")
    with pytest.raises(UserError, match=r"b: the columns are n, source\. Two with text are needed"):
        texts(tmp_path / "b")
    as_bytes = {"picture": [b"\xff\xd8"] * 2, "de": [b"Hund", b"\xff"], "en": [b"dog", None]}
    pq.write_table(pa.table(as_bytes), tmp_path / "d")
    pairs = list(read_pairs([tmp_path / "d"], columns_for([tmp_path / "d"], (1, 2), ("de", "en"))))
    assert pairs[0][1:4] == ("Hund", "dog", None)
    assert pairs[1].fault == "not UTF-8"
    whole = (tmp_path / "a").read_bytes()
    for damaged in (whole[:-10], whole[:50], whole[:4] + bytes(100) + whole[104:]):
        (tmp_path / "c").write_bytes(damaged)
        with pytest.raises(UserError, match=r"c: (damaged or incomplete|the columns)"):
            texts(tmp_path / "c")


def test_workbooks(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["English", "German", "Note"])
    book.active.append(["a dog", "ein Hund\nund", 3])
    book.active.append([])
    book.active.append(["a cat", "eine Katze", None])
    more = book.create_sheet("More")
    more.append(["Haus", "house"])
    book.create_sheet("Info").append(["nothing"])
    book.save(tmp_path / "a")
    pairs = list(read_pairs([tmp_path / "a"], columns_for([tmp_path / "a"], (1, 2), ("de", "en"))))
    assert [(pair.line, pair.source, pair.target) for pair in pairs] == [
        (2, "ein Hund und", "a dog"),
        (4, "eine Katze", "a cat"),
        (1, "Haus", "house"),
    ]
    assert pairs[0].file.endswith("a, sheet Sheet")
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(whole.replace(b"xl/workbook.xml", b"xl/workbook.xm_"))
    with pytest.raises(UserError, match="b: a damaged workbook"):
        texts(tmp_path / "b")
    (tmp_path / "c").write_bytes(whole[:-100])
    with pytest.raises(UserError, match="c: the archive is damaged"):
        texts(tmp_path / "c")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"PAR1" + bytes(20) + b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.delitem(__import__("sys").modules, "allyouneed.data.files.readers.columnar", raising=False)
    with pytest.raises(UserError, match=r"is read with the package pyarrow: pip install 'allyouneed\[corpora\]'"):
        list(read_pairs([Path(tmp_path / "a")]))
