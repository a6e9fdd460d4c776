"""Several files as one corpus: folders, archives, data sets and named corpora."""

import json
import os
import threading
import zipfile
from pathlib import Path

import pytest

from allyouneed.data.corpora import as_corpora, located, training_text
from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, exchange_advice, read_pairs, reading_notes
from allyouneed.data.files.grouping import contents, parallel_files, split_of
from allyouneed.errors import UserError
from allyouneed.terminal import expand_options
from allyouneed.translation.evaluation.data import read_test
from tests.data.test_units import tmx

XML = '<?xml version="1.0"?>'


def fill(folder, **texts):
    """Write files; `__` in a name stands for a dot, `/` for a folder."""
    for name, text in texts.items():
        path = folder / name.replace("__", ".").replace("_in_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def pairs(paths, languages=("de", "en")):
    paths = paths if isinstance(paths, list) else [paths]
    columns = columns_for(paths, (1, 2), languages)
    found = list(read_pairs(paths, columns))
    assert count_pairs(paths, columns) == len(found)
    return [(pair.source, pair.target) for pair in found]


@pytest.mark.parametrize(
    "names",
    [
        ("train.de", "train.en", "train.fr"),
        ("a.de-en.de.gz", "a.de-en.en.gz", "a.de-en.fr.gz"),
        ("de/news.txt", "en/news.txt", "fr/news.txt"),
        ("corpus_de.txt", "corpus_en.txt", "corpus_fr.txt"),
        ("x.deu_Latn", "x.eng_Latn", "x.fra_Latn"),
        ("OPUS-books-v1-deu-eng.deu", "OPUS-books-v1-deu-eng.eng", "OPUS-books-v1-deu-eng.fra"),
    ],
)
def test_files_that_differ_in_the_language_are_parallel(names):
    german, english, french = files = [Path(name) for name in names]
    assert parallel_files(files, ("de", "en")) == ([(german, english)], [french])
    assert parallel_files(files[::-1], ("fr", "de")) == ([(french, german)], [english])
    assert parallel_files(files[:2], None)[0] == [(german, english)]


def test_files_without_languages_are_parallel_in_their_order():
    files = [Path(name) for name in ("source1", "target1", "source2", "target2")]
    assert parallel_files(files, ("de", "en")) == ([(files[0], files[1]), (files[2], files[3])], [])


def test_a_folder_is_read_whole(tmp_path):
    fill(tmp_path, a__de="eins\n", a__en="one\n", a__fr="un\n", b_in_c__tsv="zwei\ttwo\n", README__md="# text\n")
    fill(tmp_path, memory__tmx=tmx({"en": "three", "de-AT": "drei"}), image__png="\x89")
    assert sorted(pairs(tmp_path)) == [("drei", "three"), ("eins", "one"), ("zwei", "two")]
    assert ("one", "eins") in pairs(tmp_path, ("en", "de"))
    notes = reading_notes([tmp_path], columns_for([tmp_path], (1, 2), ("de", "en")))
    assert any("3 texts are read one after the other" in note for note in notes)
    assert any("a.fr" in note and "not used" in note for note in notes)
    files = {pair.file for pair in read_pairs([tmp_path], columns_for([tmp_path], (1, 2), ("de", "en")))}
    assert files == {str(tmp_path / name) for name in ("a.de", "b/c.tsv", "memory.tmx")}
    with pytest.raises(UserError, match=r"no parallel text in fr and sv|no unit has texts in both fr and sv"):
        pairs(tmp_path, ("fr", "sv"))


def test_several_files_of_a_corpus(tmp_path):
    fill(tmp_path, a__tsv="eins\tone\n", b__tsv="zwei\ttwo\n", c__de="drei\n", c__en="three\n", d__de="vier\n")
    a, b, c, d, alone = (tmp_path / name for name in ("a.tsv", "b.tsv", "c.de", "c.en", "d.de"))
    assert pairs([a, b]) == [("eins", "one"), ("zwei", "two")]
    assert sorted(pairs([a, d, c, b])) == sorted([("drei", "three"), ("eins", "one"), ("zwei", "two")])
    with pytest.raises(UserError, match=r"d\.de: one side of a corpus, or no text, among 4 files"):
        pairs([a, c, d, alone])
    assert exchange_advice([c, d], columns_for([c, d], (1, 2), ("de", "en")), "--train").endswith(f"--train {d} {c}.")
    assert "--from and --to" in exchange_advice([a, b], columns_for([a, b], (1, 2), ("de", "en")), "--train")


def test_the_parts_of_a_data_set(tmp_path):
    for split in ("train", "validation", "test"):
        fill(
            tmp_path, **{f"data_in_{split}-00000-of-00001__tsv": f"{split}\tx\n", f"{split}_in_a__tsv": f"{split}\ty\n"}
        )
    for split in ("train", "validation", "test"):
        assert {pair[0] for pair in pairs(contents(tmp_path, split))} == {split}
    text = training_text([[tmp_path]], [[tmp_path]], ("de", "en"))
    assert [len(corpus.paths) for corpus in (*text.train, *text.valid)] == [2, 2]
    assert read_test([tmp_path], languages=("de", "en")).sources == ["test", "test"]
    fill(tmp_path / "n", train__tsv="a\tb\n")
    with pytest.raises(UserError, match="a data set without the part test; it has train"):
        contents(tmp_path / "n", "test")


def test_a_data_set_saved_to_disk(tmp_path):
    """What `DatasetDict.save_to_disk` of Hugging Face writes: Arrow streams, with caches that are not part of it."""
    pa = pytest.importorskip("pyarrow")
    fill(tmp_path, dataset_dict__json='{"splits": ["train", "validation"]}')
    for split in ("train", "validation"):
        names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
        for name in (*names, "cache-1234.arrow"):
            table = pa.Table.from_pylist([{"id": 1, "translation": {"de": f"{split} {name}", "en": "x", "fr": "y"}}])
            fill(tmp_path, **{f"{split}_in_state__json": json.dumps({"_data_files": [{"filename": n} for n in names]})})
            fill(tmp_path, **{f"{split}_in_dataset_info__json": "{}"})
            with pa.ipc.new_stream(tmp_path / split / name, table.schema) as writer:
                writer.write_table(table)
    for split in ("train", "validation"):
        assert pairs(contents(tmp_path, split)) == [
            (f"{split} data-0000{number}-of-00002.arrow", "x") for number in (0, 1)
        ]
        assert pairs(tmp_path / split, ("fr", "en")) == [("y", "x")] * 2


@pytest.mark.parametrize(
    ("path", "split"),
    [("train.de", "train"), ("data/train-00001-of-00002.parquet", "train"), ("de/dev.txt", "validation"),
     ("newstest.de", None), ("training/europarl.de", "train"), ("val_set.tsv", "validation"), ("a/test/b", "test"),
     ("OpenSubtitles.de-en.de", None)],
)  # fmt: skip
def test_names_of_parts(path, split):
    assert split_of(Path(path)) == split


def test_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (
            ("README", "x\n"),
            ("LICENSE", "y\n"),
            ("Books.de-en.de", "eins\n"),
            ("Books.de-en.en", "one\n"),
        ):
            archive.writestr(name, text)
        archive.writestr(
            "Books.de-en.xml", '<?xml version="1.0"?><cesAlign><linkGrp fromDoc="x" toDoc="y"/></cesAlign>'
        )
        archive.writestr("Books.de-en.ids", "a\tb\t1\t1\n")
    archive_path = tmp_path / "a.zip"
    assert pairs(archive_path) == [("eins", "one")]
    assert pairs(archive_path, ("en", "de")) == [("one", "eins")]
    assert pairs([archive_path / "Books.de-en.de", archive_path / "Books.de-en.en"]) == [("eins", "one")]
    assert [each.paths for each in as_corpora([[archive_path]])] == [(archive_path,)]
    with pytest.raises(UserError, match=r"a\.zip/c\.de: no such file in the archive"):
        pairs([archive_path / "c.de", archive_path / "Books.de-en.en"])
    (tmp_path / "b.zip").write_bytes(archive_path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"b\.zip: the archive is damaged, incomplete or of another type"):
        pairs(tmp_path / "b.zip")
    damaged = bytearray(archive_path.read_bytes())
    damaged[damaged.index(b"Books.de-en.de") + 14] ^= 255
    (tmp_path / "c.zip").write_bytes(damaged)
    with pytest.raises(UserError, match=r"c\.zip"):
        pairs(tmp_path / "c.zip")


def test_pipes_are_read_once(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, text in zip(paths, ("eins\nzwei\n", "one\ntwo\n"), strict=True):
        os.mkfifo(path)
        threading.Thread(target=path.write_text, args=(text,), daemon=True).start()
    assert [(pair.source, pair.target) for pair in read_pairs(paths)] == [("eins", "one"), ("zwei", "two")]
    os.mkfifo(tmp_path / "c")
    threading.Thread(target=(tmp_path / "c").write_text, args=("eins\tone\n",), daemon=True).start()
    assert [(pair.source, pair.target) for pair in read_pairs([tmp_path / "c"])] == [("eins", "one")]


def test_archives_made_to_exhaust_a_computer_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.de", "w") as entry:
        for _ in range(100):
            entry.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"a\.zip: unpacks to 1,0\d\d times its size"):
        pairs(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.de", "x" * 100)
        archive.writestr("b.de", "y" * 100)
        archive.filelist[1].header_offset = archive.filelist[0].header_offset
    with pytest.raises(UserError, match=r"b\.zip: entries of the archive overlap"):
        pairs(tmp_path / "b.zip")


def test_a_corpus_on_the_command_line_has_any_number_of_files(tmp_path):
    assert expand_options(["train", "--train", "a", "b", "c", "--out", "r"])[1:3] == ["--train", "a\0b\0c"]
    assert expand_options(["distil", "--train", "a", "b", "TEACHER"]) == ["distil", "--train", "a\0b", "TEACHER"]


def test_named_corpora(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    name = Path("mtdata:OPUS-books-v1-deu-eng")
    with pytest.raises(UserError, match="not a name of mtdata"):
        contents(Path("mtdata:books"))
    with pytest.raises(UserError, match="the program mtdata, which is not installed"):
        contents(name)
    program = tmp_path / "mtdata"
    program.write_text("#!/bin/sh\necho Traceback >&2; echo 'ConnectionError: no network' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    with pytest.raises(UserError, match=r"cannot be downloaded \(ConnectionError: no network\)\. Check the network"):
        contents(name)
    program.write_text(
        "#!/bin/sh\nfor out; do :; done\nmkdir -p $out/train-parts; echo eins > $out/train-parts/$5.deu\n"
        "echo one > $out/train-parts/$5.eng\n"
    )
    corpora = as_corpora([[name]], split="validation")
    program.unlink()
    assert [pairs(list(each.paths)) for each in located(corpora, (1, 2), ("de", "en"))] == [[("eins", "one")]]
    assert as_corpora([[name]]) == corpora
