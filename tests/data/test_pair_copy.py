"""Copies of pairs: equal to the files, read once, and gone when they are not needed any more."""

import gzip
import json

import pytest

from allyouneed.config import DataConfig
from allyouneed.data.corpora import corpus, located, with_copies
from allyouneed.data.files import xml_stream
from allyouneed.data.files.formats import RawPair
from allyouneed.data.files.pair_copy import PairCopy
from allyouneed.data.prepare import prepare
from allyouneed.errors import UserError
from tests.conftest import toy_pairs

UNIT = "<tu><tuv xml:lang='de'><seg>{}</seg></tuv><tuv xml:lang='en'><seg>{}</seg></tuv></tu>"


def write_memory(path, pairs):
    units = "\n".join(UNIT.format(*pair) for pair in pairs)
    path.write_text(f'<?xml version="1.0"?>\n<tmx version="1.4"><header/><body>\n{units}\n</body></tmx>\n')
    return path


def test_hostile_texts_come_back(tmp_path):
    texts = [
        "",
        " a ",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "\x1f",
        "\x1fx\x1f\n",
        "[1]",
        '["a"]',
        "\ud800",
        "\u2028\u0085",
        "한국어",
    ]
    pairs = [
        RawPair(line, one, other, fault, file)
        for line, (one, other) in enumerate(zip(texts, reversed(texts), strict=True))
        for fault in (None, "not UTF-8")
        for file in ("", "a\nb, sheet [1]")
    ]
    copy = PairCopy(tmp_path)
    assert copy.write(pairs[:5]) == 5
    assert copy.write(iter(pairs[5:])) == len(pairs) - 5
    first = copy.pairs()
    assert next(first) == pairs[0]
    assert list(copy.pairs()) == pairs
    assert [*first] == pairs[1:]  # each pass has a position of its own
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["tmx", "json", "mixed"])
def test_a_copy_has_the_pairs_of_the_files(tmp_path, kind):
    pairs = toy_pairs(100)
    memory = write_memory(tmp_path / "a.tmx", pairs[:60])
    table, document = tmp_path / "b.tsv", tmp_path / "c.json"
    table.write_text("".join(f"{one}\t{other}\n" for one, other in pairs[60:]))
    document.write_text(json.dumps([{"de": one, "en": other} for one, other in pairs]))
    files = {"tmx": [memory], "json": [document], "mixed": [memory, table]}[kind]
    [given] = located([corpus(*files)], (1, 2), ("de", "en"))
    [copied], [count] = with_copies([given], tmp_path / "new", print)
    assert copied == given
    assert copied.copy
    assert list(copied.pairs()) == list(given.pairs())
    assert count == {"tmx": 60, "json": 100, "mixed": 100}[kind]


def test_plain_text_is_not_copied(tmp_path):
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress("".join(f"{s}\t{t}\n" for s, t in toy_pairs(9)).encode()))
    [copied], counts = with_copies([corpus(tmp_path / "a.tsv.gz")], tmp_path / "new", print)
    assert (copied.copy, counts) == (None, [9])
    assert not (tmp_path / "new").exists()


def test_a_table_among_others_is_still_checked(tmp_path):
    memory = write_memory(tmp_path / "a.tmx", toy_pairs(3))
    (tmp_path / "b.tsv").write_text("a b\tx\n" * 30 + "a\tb\tx\n" * 10)
    [given] = located([corpus(memory, tmp_path / "b.tsv")], (1, 2), ("de", "en"))
    with pytest.raises(UserError, match="rows do not have 2 columns"):
        with_copies([given], tmp_path, print)


def test_xml_is_parsed_once_to_prepare_it(tmp_path, monkeypatch):
    train, valid = (write_memory(tmp_path / f"{name}.tmx", toy_pairs(200, seed=n)) for n, name in enumerate("ab"))
    opened = []
    stream = xml_stream._Parser.feed

    def counted(parser, chunk, final=False):
        opened.extend([parser.path] * final)  # a document is read to its end
        return stream(parser, chunk, final)

    monkeypatch.setattr(xml_stream._Parser, "feed", counted)
    data = DataConfig(vocab_size=300, faults="warn")
    prepared = prepare(
        tmp_path / "data", [corpus(train)], [corpus(valid)], data, lambda line: None, languages=("de", "en")
    )
    assert prepared.report()["train"]["pairs"] == 200
    assert max(opened.count(path) for path in (train, valid)) <= 2  # one of them to describe the file
