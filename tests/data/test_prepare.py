import os
import shutil

import pytest

from allyouneed.config import DataConfig
from allyouneed.data.corpora import corpus
from allyouneed.data.files.formats import RawPair
from allyouneed.data.held_out import HeldOut
from allyouneed.data.prepare import prepare
from allyouneed.data.store import open_store
from allyouneed.errors import UserError
from tests.conftest import toy_pairs, write_pairs

DATA = DataConfig(vocab_size=300, max_length=20)


def run_prepare(folder, files, valid=None, data=DATA):
    messages = []
    valid = valid and [corpus(*valid)]
    return prepare(folder / "data", [corpus(*files)], valid, data, messages.append), messages


def test_a_header_is_neither_a_training_nor_a_validation_pair(tmp_path):
    pairs = {"train": toy_pairs(200), "valid": toy_pairs(30, seed=5)}
    for name, text in pairs.items():
        rows = [("en", "de"), *text]
        (tmp_path / f"{name}.tsv").write_text("".join(f"{target}\t{source}\n" for source, target in rows))
    messages: list[str] = []
    train, valid = ([corpus(tmp_path / f"{name}.tsv")] for name in pairs)
    prepared = prepare(tmp_path / "data", train, valid, DATA, messages.append, languages=("en", "de"))
    assert prepared.valid_texts() == pairs["valid"]  # selected by language, although the target is the first column
    assert prepared.report()["train"]["pairs"] == 200
    assert sum("train.tsv: the first row is a header (de, en)" in line for line in messages) == 1


def test_rows_with_a_tab_inside_a_sentence_are_dropped_with_their_lines(tmp_path):
    rows = [f"{source}\t{target}\n" for source, target in toy_pairs(200)]
    rows[17] = "half\tof it\tand a target\n"
    (tmp_path / "train.tsv").write_text("".join(rows))
    prepared, _ = run_prepare(tmp_path, [tmp_path / "train.tsv"], write_pairs(tmp_path, "valid", toy_pairs(10, seed=5)))
    [example] = prepared.report()["train"]["dropped"]["more than 2 columns"]["examples"]
    assert example["line"] == 18
    assert "\t18\tfile\tmore than 2 columns\t" in prepared.dropped.read_text()


def test_dropped_pairs_are_counted_and_listed(tmp_path):
    bad = [("a b", ""), ("a b", "b a"), ("a b", "b a"), ("a b c d e f g " * 5, "x"), ("a b c d e f", "f " * 5)]
    files = write_pairs(tmp_path, "train", [*toy_pairs(200), *bad])
    with open(files[0], "ab") as file:
        file.write(b"caf\xe9\n")
    with open(files[1], "a") as file:
        file.write("coffee\n")
    prepared, _ = run_prepare(tmp_path, files, write_pairs(tmp_path, "valid", toy_pairs(10, seed=5)))
    report = prepared.report()["train"]
    dropped = {reason.split(" (")[0]: entry["count"] for reason, entry in report["dropped"].items()}
    assert dropped["empty side"] == 1
    assert dropped["not UTF-8"] == 1
    assert dropped["too long"] == 1
    assert dropped["duplicate"] >= 1
    assert report["pairs"] == 206
    assert report["kept"] == 206 - sum(dropped.values()) == len(open_store(prepared.train))
    listed = prepared.dropped.read_text().splitlines()[1:]
    assert len(listed) == sum(dropped.values())
    assert any(line.split("\t")[1:4] == ["201", "empty", "empty side"] for line in listed)


def test_without_validation_files_pairs_are_held_out(tmp_path):
    files = write_pairs(tmp_path, "train", toy_pairs(600))
    prepared, messages = run_prepare(tmp_path, files)
    train, valid = prepared.report()["train"], prepared.report()["valid"]
    assert 5 < valid["kept"] < 100
    assert any("held out" in line for line in messages)
    assert train["pairs"] + valid["pairs"] == 600
    training_sources = {prepared.tokenizer().decode(open_store(prepared.train).source[i]) for i in range(train["kept"])}
    assert not training_sources & {source for source, _ in prepared.valid_texts()}


def test_too_few_pairs_for_validation(tmp_path):
    training_pairs = [pair for pair in toy_pairs(30) if not HeldOut({corpus(): 4}).choice(corpus())(RawPair(1, *pair))]
    files = write_pairs(tmp_path, "train", training_pairs)
    with pytest.raises(UserError, match=r"train\.src and .*train\.tgt: too few pairs to hold out some.*--valid"):
        run_prepare(tmp_path, files)


def test_an_empty_list_of_validation_files_means_none(tmp_path):
    prepared, messages = run_prepare(tmp_path, write_pairs(tmp_path, "train", toy_pairs(600)), valid=[])
    assert any("held out" in line for line in messages)
    assert prepared.report()["valid"]["pairs"] < 100


def test_a_deleted_store_is_prepared_again(tmp_path):
    """The remedy that the error message suggests works."""
    files = write_pairs(tmp_path, "train", toy_pairs(200)), write_pairs(tmp_path, "valid", toy_pairs(10, seed=5))
    prepared, _ = run_prepare(tmp_path, *files)
    report = prepared.report()
    (prepared.train / "source.ids").write_bytes(b"")
    with pytest.raises(UserError, match=f"Delete {prepared.train} and run the same command again"):
        open_store(prepared.train)
    shutil.rmtree(prepared.train)
    again, messages = run_prepare(tmp_path, *files)
    assert messages
    assert again.report() == report
    assert len(open_store(again.train)) == report["train"]["kept"]
    assert run_prepare(tmp_path, *files)[1] == []


def test_a_file_whose_name_is_not_utf8(tmp_path):
    files = write_pairs(tmp_path, "train", [*toy_pairs(200), ("a", "")])
    odd = files[0].rename(tmp_path / os.fsdecode(b"caf\xe9.src"))
    prepared, _ = run_prepare(tmp_path, [odd, files[1]], write_pairs(tmp_path, "valid", toy_pairs(10, seed=5)))
    assert prepared.report()["train"]["files"] == [str(odd), str(files[1])]
    assert "caf\\udce9.src\t201\tempty\tempty side" in prepared.dropped.read_text(encoding="utf-8")


def test_an_unwritable_folder_is_reported(tmp_path):
    files = write_pairs(tmp_path, "train", toy_pairs(200))
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*dropped\.tsv"):
        run_prepare(tmp_path, files, write_pairs(tmp_path, "valid", toy_pairs(10, seed=5)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no usable pairs \(the file is empty\)"),
        (b"\n\n\n", r"no usable pairs \(3 empty side\)"),
        (b"\xe4\xf6\n" * 50, "s:1: not UTF-8; probably CP1252"),
    ],
)
def test_files_without_usable_pairs(tmp_path, content, message):
    for side in ("s", "t"):
        (tmp_path / side).write_bytes(content)
    with pytest.raises(UserError, match=message):
        run_prepare(tmp_path, [tmp_path / "s", tmp_path / "t"])


def test_another_encoding_is_reported_with_the_first_line(tmp_path):
    files = write_pairs(tmp_path, "train", toy_pairs(100))
    lines = files[0].read_bytes().splitlines()
    files[0].write_bytes(b"\n".join(b"\xe4" + line if i >= 60 else line for i, line in enumerate(lines)) + b"\n")
    with pytest.raises(UserError, match=r"train\.src:61: not UTF-8; "):
        run_prepare(tmp_path, files, write_pairs(tmp_path, "valid", toy_pairs(10)))


@pytest.mark.parametrize(("source", "target"), [("de", "en"), ("en", "de")])
def test_compressed_multi30k(multi30k, tmp_path, source, target):
    train, valid = ([multi30k / f"{name}.{side}.gz" for side in (source, target)] for name in ("train", "val"))
    prepared, _ = run_prepare(tmp_path, train, valid, DataConfig(vocab_size=8000))
    report = prepared.report()["train"]
    assert report["pairs"] == 29_000
    assert report["kept"] + sum(entry["count"] for entry in report["dropped"].values()) == 29_000
    assert report["kept"] > 28_900
    assert len(open_store(prepared.valid)) == len(prepared.valid_texts()) == 1014
    store, tokenizer = open_store(prepared.valid), prepared.tokenizer()
    assert [tokenizer.decode(store.source[i]) for i in range(50)] == [text for text, _ in prepared.valid_texts()[:50]]


def test_an_impossible_vocabulary_size_is_reported_with_the_files(tmp_path):
    files = write_pairs(tmp_path, "train", toy_pairs(100))
    with pytest.raises(UserError, match=r"train\.src and .*train\.tgt: data\.vocab_size = 100 is too small"):
        run_prepare(tmp_path, files, write_pairs(tmp_path, "valid", toy_pairs(10)), DataConfig(vocab_size=100))


def test_an_unwritable_list_of_dropped_pairs_is_reported(tmp_path):
    (tmp_path / "data" / "dropped.tsv").mkdir(parents=True)
    files = write_pairs(tmp_path, "train", toy_pairs(100))
    with pytest.raises(UserError, match=r"cannot write .*dropped\.tsv: is a directory"):
        run_prepare(tmp_path, files, write_pairs(tmp_path, "valid", toy_pairs(10)))
