"""The rows of `benchmarks/levers.py`, its texts and its table."""

import gzip

import pytest

from benchmarks import levers


def test_rows_name_existing_rows_of_the_same_corpus():
    rows = {row.name: row for row in levers.ROWS}
    assert len(rows) == len(levers.ROWS)
    for row in levers.ROWS:
        assert row.against is None or rows[row.against].corpus == row.corpus
        assert set(row.needs) <= rows.keys()
        before = [each.name for each in levers._with_baselines([row])]
        assert before[-1] == row.name
        assert {row.against or row.name, *row.needs} <= set(before)
    with pytest.raises(SystemExit, match="there is no row 'nothing'"):
        levers._named("nothing")


def test_the_table_has_differences_of_medians():
    rows = [levers.Row("plain", "ko-en"), levers.Row("better", "ko-en", against="plain")]
    results = {
        "plain": [{"bleu": bleu, "chrf": 30.0, "loading": 0.01, "seconds": 60.0} for bleu in (9.0, 10.0, 20.0)],
        "better": [{"bleu": 11.5, "chrf": 29.0, "loading": 0.02, "seconds": 61.0}] * 3,
    }
    assert levers.table(rows, results).splitlines()[2:] == [
        "| plain | 10.0 | 30.0 |  |  |  | 1.0% | 60 |",
        "| better | 11.5 | 29.0 | plain | +1.5 | -1.0 | 2.0% | 61 |",
    ]


def test_test_text_is_not_trained_on(tmp_path):
    (tmp_path / "tatoeba").mkdir()
    lines = "".join(f"문장 {i % 590}\tsentence {i}\tlicence\n" for i in range(700))
    (tmp_path / "tatoeba" / "ko-en.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    for name, side in (("ko-en", 0), ("en-ko", 1)):
        levers._write_corpus(tmp_path, tmp_path / "work", name)
        parts = {
            part: [line.split("\t") for line in (tmp_path / "work" / name / f"{part}.tsv").read_text().splitlines()]
            for part in ("train", "valid", "test")
        }
        assert [len(parts[part]) for part in ("train", "valid", "test")] == [90, 100, 400]
        korean = [{pair[side] for pair in pairs} for pairs in parts.values()]
        assert not korean[0] & korean[1] | korean[0] & korean[2]
