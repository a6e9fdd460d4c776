"""Tables: the issue's small inputs, and what spreadsheets, pandas and Hugging Face datasets write."""

import csv
import json
import random

import pytest

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs, reading_notes
from allyouneed.data.files.headers import side_of
from allyouneed.errors import UserError


def write(tmp_path, text, name="a.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [path]


def texts(paths, columns=(1, 2)):
    return [(pair.line, pair.source, pair.target) for pair in read_pairs(paths, columns) if not pair.fault]


def faults(paths):
    return [(pair.line, pair.fault) for pair in read_pairs(paths) if pair.fault]


def test_a_tab_inside_a_cell_is_not_a_pair(tmp_path):
    rows = [f"ein Satz {i}\ta sentence {i}\n" for i in range(50)]
    rows[6] = "ein halber\tSatz\thalf a sentence\n"
    rows[9] = "kein Tabulator\n"
    paths = write(tmp_path, "".join(rows))
    assert faults(paths) == [(7, "more than 2 columns"), (10, "fewer than 2 columns")]
    assert len(texts(paths)) == 48
    assert count_pairs(paths) == 50


def test_many_irregular_rows_are_refused(tmp_path):
    rows = [f"ein\tSatz\ta sentence {i}\n" if i % 3 == 1 else f"ein Satz {i}\ta sentence {i}\n" for i in range(500)]
    paths = write(tmp_path, "".join(rows))
    message = r"a\.tsv: 167 of 500 rows do not have 2 columns.* is line 2 \(more than 2 columns: 'ein \| Satz"
    with pytest.raises(UserError, match=message):
        count_pairs(paths)


def test_one_side_alone_is_not_a_table(tmp_path):
    paths = write(tmp_path, "eins, zwei\ndrei, vier\nfünf\n", "train.de")
    for read in (count_pairs, texts):
        with pytest.raises(UserError, match=r"train\.de: 3 of 3 lines have no tab.*Give both sides, SOURCE TARGET"):
            read(paths)


@pytest.mark.parametrize(
    "header", ["de\ten", "source\ttarget", "German\tEnglish", "src\ttgt", '"de"\t"en"', "sentence_de\tsentence_en"]
)
def test_a_header_is_not_a_pair(tmp_path, header):
    quote = '"' if '"' in header else ""
    paths = write(tmp_path, f"{header}\n{quote}eins{quote}\t{quote}one{quote}\n{quote}zwei{quote}\t{quote}two{quote}\n")
    assert texts(paths) == [(2, "eins", "one"), (3, "zwei", "two")]
    assert count_pairs(paths) == 2
    assert "the first row is a header" in reading_notes(paths)[0]


@pytest.mark.parametrize("first", ["eins\tone", "Go.\tGeh.", "German\tDeutsch", "Er ist alt.\tEnglish", "A\tB"])
def test_a_first_pair_is_not_a_header(tmp_path, first):
    paths = write(tmp_path, f"{first}\nzwei\ttwo\n")
    assert count_pairs(paths) == 2
    assert reading_notes(paths) == []


def test_a_header_selects_the_columns(tmp_path):
    paths = write(tmp_path, "id\ttarget\tsource\n1\tone\teins\n2\ttwo\tzwei\n")
    assert texts(paths) == [(2, "eins", "one"), (3, "zwei", "two")]
    assert texts(paths, (1, 2)) == texts(paths)
    assert texts(paths, (2, 3))[0] == (2, "one", "eins")
    assert any("source is 'source', target is 'target'" in note for note in reading_notes(paths))


def test_more_columns_than_two_are_mentioned(tmp_path):
    paths = write(tmp_path, "eins\tone\tx\ty\nzwei\ttwo\tx\ty\n")
    [note] = reading_notes(paths)
    assert "4 columns; source and target are columns 1 and 2. Choose others with --set data.columns=" in note


def test_numbers_are_not_sentences(tmp_path):
    paths = write(tmp_path, "1276\tLet's try.\t77\tLass uns\n1277\tI go.\t78\tIch gehe\n")
    with pytest.raises(UserError, match=r"column 1 of 4 has only numbers.*data.columns=2,4"):
        texts(paths)
    assert texts(paths, (2, 4))[0] == (1, "Let's try.", "Lass uns")


def test_columns_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"a\.tsv: 2 columns, so there is no column 3"):
        texts(write(tmp_path, "a\tb\n"), (1, 3))


def test_cells_in_quotes_are_read_as_csv(tmp_path):
    pairs = [(f'a ""b"" c {i}', f"x {i}") for i in range(20)]
    paths = write(tmp_path, "".join(f'"{s}"\t"{t}"\n' for s, t in pairs))
    assert texts(paths)[1] == (2, 'a "b" c 1', "x 1")
    assert "cells are in quotation marks" in reading_notes(paths)[0]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(("separator", "name"), [("\t", "a.tsv"), (",", "a.csv"), (";", "a.csv"), (",", "a.txt")])
def test_what_python_and_pandas_write(tmp_path, quoting, separator, name):
    rng = random.Random(1)
    words = ["eins", 'sagt "hallo"', "a,b", "c;d", '"', "ende.", "tab\there", "two\nlines", "日本", ""]
    pairs = [(" ".join([f"n{i}", *rng.choices(words, k=4)]), " ".join(rng.choices(words, k=3))) for i in range(300)]
    path = tmp_path / name
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, quoting=quoting)
        writer.writerows([("source", "target"), *pairs])
    read = texts([path])
    assert [pair[1:] for pair in read] == [tuple(s.replace("\n", " ").strip() for s in pair) for pair in pairs]
    lines = path.read_bytes().split(b"\n")
    assert all(lines[line - 1].decode().lstrip('"').startswith(source.split()[0]) for line, source, _ in read)
    assert count_pairs([path]) == 300


def test_quotes_in_plain_tsv_stay(tmp_path):
    rows = ['Er sagte: "Ja."\tHe said: "Yes."', '"Nein", sagte sie.\t"No," she said.', '"Was?"\t"What?"']
    assert [pair[1:] for pair in texts(write(tmp_path, "\n".join(rows)))] == [tuple(row.split("\t")) for row in rows]


def test_broken_quotes_are_a_fault_of_the_row(tmp_path):
    rows = [f'"s {i}","t {i}"' for i in range(30)]
    rows[20] = '"s "20","t 20"'
    paths = write(tmp_path, "\n".join(rows), "a.csv")
    assert faults(paths) == [(21, "unbalanced quotation marks")]
    assert len(texts(paths)) == 29


@pytest.mark.parametrize(
    "form",
    [
        lambda s, t: {"source": s, "target": t},
        lambda s, t: {"id": "7", "target": t, "source": s},
        lambda s, t: {"translation": {"de": s, "en": t}},
        lambda s, t: {"id": 7, "translation": {"de": s, "en": t}},
        lambda s, t: {"German": s, "English": t, "note": None},
        lambda s, t: {"a": s, "b": t},
    ],
)
def test_json_lines(tmp_path, form):
    pairs = [("eins\nzwei", 'one "two"'), ("日本", "\u00fc\ttab"), ("x", "y")]
    paths = write(tmp_path, "".join(json.dumps(form(*pair)) + "\n" for pair in pairs), "a.jsonl")
    assert texts(paths) == [(1, "eins zwei", 'one "two"'), (2, "日本", "ü\ttab"), (3, "x", "y")]
    assert count_pairs(paths) == 3


def test_broken_json_lines(tmp_path):
    rows = [json.dumps({"de": f"s {i}", "en": f"t {i}"}) for i in range(40)]
    rows[3], rows[4], rows[5] = "{broken", '{"de": "x", "en": "\\ud800"}', '{"de": "x"}'
    paths = write(tmp_path, "\n".join(rows))
    assert faults(paths) == [(4, "not a JSON object"), (5, "not UTF-8")]
    assert texts(paths)[3] == (6, "x", "")


def test_json_without_two_texts_is_refused(tmp_path):
    with pytest.raises(UserError, match="JSON lines whose first object has 1 keys with text"):
        texts(write(tmp_path, '{"text": "a", "n": 1}\n'))


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("SRC", "source"),
        ("target_text", "target"),
        ("German", "de"),
        (" en ", "en"),
        ("Hello", None),
        ("A", None),
        ("one", None),
        ("yue", "yue"),
    ],
)
def test_names_of_columns(name, side):
    assert side_of(name) == side


def test_columns_by_name(tmp_path):
    text = "Nummer\tQuelle\tZiel\n1\teins\tone\n2\tzwei\ttwo\n"
    for content, name in ((text, "a.tsv"), (text.replace("\t", ";"), "b.csv"), (text.replace("\t", ","), "c")):
        paths = write(tmp_path, content, name)
        assert texts(paths, ("Quelle", "Ziel")) == [(2, "eins", "one"), (3, "zwei", "two")]
        assert texts(paths, ("Ziel", 1)) == [(2, "one", "1"), (3, "two", "2")]
    with pytest.raises(UserError, match=r"a\.tsv: no column named 'Unsinn'; the columns are not named"):
        texts([tmp_path / "a.tsv"], ("Unsinn", 1))
    paths = write(tmp_path, "id\tGerman\tEnglish\n1\teins\tone\n")
    assert texts(paths, ("en", "de")) == [(2, "one", "eins")]


def test_separators_at_the_end_of_rows_do_no_harm(tmp_path):
    rows = [f"ein Satz {i}\ta sentence {i}" + "\t" * (i % 3 == 0) for i in range(60)]
    for text in ("\n".join(rows), "\n".join(rows).replace("\t", ",").replace("ein Satz 0", '"ein ""Satz"" 0"')):
        paths = write(tmp_path, text, "a.csv")
        assert (count_pairs(paths), len(texts(paths)), faults(paths)) == (60, 60, [])


@pytest.mark.parametrize("write_object", [repr, json.dumps, lambda value: json.dumps(value, ensure_ascii=False)])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("columns", [["translation"], ["", "translation"], ["id", "translation", "source"], ["texts"]])
def test_objects_in_cells(tmp_path, write_object, separator, columns):
    """As `datasets.to_csv` and `DataFrame.to_csv` write nested columns."""
    rng = random.Random(1)
    words = ["eins", "it's", 'sagt "hallo"', "a,b", "c;d", "\\n", "tab\there", "two\nlines", "日本", "{x}", "a: b"]
    pairs = [
        (" ".join([f"n{i}", *rng.choices(words, k=4)]), " ".join(["m", *rng.choices(words, k=3)])) for i in range(300)
    ]
    path = tmp_path / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        for number, (source, target) in enumerate(pairs):
            value = write_object({"en": target, "de": source, "fr": "-"})
            writer.writerow([value if column in ("translation", "texts") else number for column in columns])
    expected = [tuple(" ".join(text.split()) for text in pair) for pair in pairs]
    chosen = columns_for([path], (1, 2), ("de", "en"))
    assert [tuple(" ".join(text.split()) for text in pair[1:3]) for pair in read_pairs([path], chosen)] == expected
    assert count_pairs([path], chosen) == 300
    assert any("has objects, whose texts are read as columns" in note for note in reading_notes([path], chosen))
    content = path.read_bytes()
    path.write_bytes(content + b"\"{'de': 'x', \"\n")
    assert [pair.fault for pair in read_pairs([path], chosen)][300:]
    assert {pair.fault for pair in read_pairs([path], chosen)} - {None}
    with pytest.raises(UserError, match="not one side of a corpus"):
        count_pairs([path, path.with_name("b")] if path.with_name("b").write_text("x\n" * 300) else [path])


def test_braces_in_sentences_are_text(tmp_path):
    rows = [f"Hallo {{name}}: {i}\tHello {{name}}: {i}" for i in range(30)]
    paths = write(tmp_path, "\n".join([*rows, "{a: b}\t{a: c}", "{'a': 'b'}\t{'a': 'c'}"]))
    assert [pair[1:] for pair in texts(paths)][-1] == ("{'a': 'b'}", "{'a': 'c'}")
