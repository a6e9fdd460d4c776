import pytest

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs, reading_notes
from allyouneed.errors import UserError


def test_pairs_of_two_files(tmp_path):
    (tmp_path / "s").write_bytes(b"a\n b \nc\xff\n")
    (tmp_path / "t").write_bytes(b"x\ny\nz\n")
    pairs = list(read_pairs([tmp_path / "s", tmp_path / "t"]))
    assert [pair[:4] for pair in pairs[:2]] == [(1, "a", "x", None), (2, "b", "y", None)]
    assert (pairs[2].line, pairs[2].fault) == (3, "not UTF-8")


def test_pairs_of_a_tsv_with_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("가\tgo\tnote\n나\tgo\tnote\nno tab\n", encoding="utf-8")
    assert next(iter(read_pairs([path])))[:4] == (1, "가", "go", None)
    assert next(iter(read_pairs([path], columns=(2, 1))))[:4] == (1, "go", "가", None)
    assert list(read_pairs([path]))[2].fault == "fewer than 3 columns"


def test_files_of_unequal_length_are_not_parallel(tmp_path):
    (tmp_path / "s").write_bytes(b"a\nb\nc\n")
    (tmp_path / "t").write_bytes(b"x\n")
    for paths in (["s", "t"], ["t", "s"]):
        read = read_pairs([tmp_path / name for name in paths])
        assert next(read).line == 1
        with pytest.raises(UserError, match=r"t ends before line 2, .*s does not: the files are not parallel"):
            next(read)


def test_a_header_of_two_files_is_not_a_pair(tmp_path):
    for side, name in (("s", "de"), ("t", "en")):
        (tmp_path / side).write_text(f"{name}\neins\nzwei\n")
    paths = [tmp_path / "s", tmp_path / "t"]
    assert [pair.line for pair in read_pairs(paths)] == [2, 3]
    assert count_pairs(paths) == 2
    assert ["the first lines are a header (de, en)" in note for note in reading_notes(paths)] == [True]
    (tmp_path / "t").write_text("eins\nzwei\ndrei\n")
    assert count_pairs(paths) == 3
    assert reading_notes(paths) == []


def test_a_table_is_not_one_side(tmp_path):
    (tmp_path / "a.tsv").write_text("eins\tone\nzwei\ttwo\n")
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    for names in (("b.txt", "a.tsv"), ("a.tsv", "b.txt")):
        paths = [tmp_path / name for name in names]
        for read in (count_pairs, lambda paths: list(read_pairs(paths))):
            with pytest.raises(UserError, match=r"a\.tsv: a table \(2 of the first 2 lines have tabs\).*alone"):
                read(paths)


def test_few_tabs_in_one_side_are_text(tmp_path):
    (tmp_path / "s").write_text("one\tmore\n" + "two\n" * 9)
    (tmp_path / "t").write_text("eins\n" + "zwei\n" * 9)
    assert next(read_pairs([tmp_path / "s", tmp_path / "t"]))[:3] == (1, "one\tmore", "eins")


def test_json_lines_are_not_one_side(tmp_path):
    (tmp_path / "s").write_text('{"de": "eins"}\n')
    (tmp_path / "t").write_text("one\n")
    with pytest.raises(UserError, match="s: JSON lines, not one side"):
        count_pairs([tmp_path / "s", tmp_path / "t"])


@pytest.mark.parametrize("content", ["de,en\neins,one\nzwei,two\n", '"eins","one"\n"zwei, drei","two, three"\n'])
def test_csv_is_not_one_side(tmp_path, content):
    (tmp_path / "s").write_text(content)
    (tmp_path / "t").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="s: CSV with several columns, not one side"):
        count_pairs([tmp_path / "s", tmp_path / "t"])


def test_commas_and_quotation_marks_in_one_side_are_text(tmp_path):
    (tmp_path / "s").write_text('"Yes," he said.\nGerman, English and more.\n"So, what?"\n')
    assert [pair.source for pair in read_pairs([tmp_path / "s"] * 2)][2] == '"So, what?"'


@pytest.mark.parametrize(
    ("header", "languages", "columns"),
    [
        ("en\tde", ("de", "en"), (2, 1)),
        ("de\ten", ("de", "en"), (1, 2)),
        ("id\tEnglish\tGerman\tnote", ("de", "en"), (3, 2)),
        ("Deutsch\t영어", ("en", "de"), (2, 1)),
        ("zh_Hans\ten-US", ("en", "zh-Hans"), (2, 1)),
        ("target\tsource", ("de", "en"), (2, 1)),
        ("fr\ten", ("de", "en"), (1, 2)),
    ],
)
def test_a_header_selects_columns_by_language(tmp_path, header, languages, columns):
    path = tmp_path / "a.tsv"
    cells = header.count("\t") + 1
    path.write_text("".join(row + "\n" for row in [header, *["\t".join("abcd"[:cells])] * 3]), encoding="utf-8")
    assert columns_for([path], (1, 2), languages)[:2] == columns
    assert columns_for([path], (2, 1), languages)[:2] == (2, 1)
    assert next(iter(read_pairs([path], columns))).line == 2


def test_headers_of_swapped_files(tmp_path):
    for side, name in (("s", "en"), ("t", "de")):
        (tmp_path / side).write_text(f"{name}\neins\nzwei\n")
    paths = [tmp_path / "s", tmp_path / "t"]
    assert columns_for(paths, (1, 2), ("en", "de"))[:2] == (1, 2)
    with pytest.raises(UserError, match=r"their headers are en and de\. Swap the files\."):
        columns_for(paths, (1, 2), ("de", "en"))
