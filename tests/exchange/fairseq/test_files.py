"""Dictionaries, folders and archives of fairseq's models."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from allyouneed.errors import UserError
from allyouneed.exchange.fairseq.dictionary import imported_vocabulary, merge_dictionaries, read_dictionary
from allyouneed.exchange.fairseq.model_files import open_model_files

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def test_a_dictionary_keeps_its_order(tmp_path):
    path = tmp_path / "dict.de.txt"
    path.write_text(
        "hund 10\n@-@ 9\n\u2028x 3\nhund 2 #fairseq:overwrite\n<unk> 1 #fairseq:overwrite\nmadeupword0000 0\n", "utf-8"
    )
    names = read_dictionary(path)
    assert names == [*SPECIAL, "hund", "@-@", "\u2028x", "hund", "<unk>", "madeupword0000"]
    vocabulary = imported_vocabulary(names)
    assert vocabulary.vocabulary.names == ["<pad>", "<unk>", "<start>", "</s>", "<s>", *names[4:]]
    assert vocabulary.rows == [1, 3, 2, 2, 0, 4, 5, 6, 7, 8, 9]
    assert merge_dictionaries([*SPECIAL, "a", "b"], [*SPECIAL, "b", "c"]) == [*SPECIAL, "a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hund 10\nhund 2\n", "line 2: 'hund' occurs twice"),
        (b"hund 10\nkatze\n", "line 2: not a token and its count"),
        (b"hund ten\n", "line 1: not a token"),
        (b"\xff 10\n", "cannot be read as UTF-8"),
        (b"", "line 1: not a token"),
    ],
)
def test_other_dictionaries_are_refused(tmp_path, content, message):
    (tmp_path / "dict.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_dictionary(tmp_path / "dict.txt")


def write(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    contents = {".pt": b"PK\x03\x04", ".txt": b"a 1\n"}
    for name in names:
        (folder / name).write_bytes(contents.get(Path(name).suffix, b"#version: 0.2\na b\n"))
    return [folder / name for name in names]


def test_files_are_told_apart(tmp_path):
    write(tmp_path / "a", "model10.pt", "model2.pt", "dict.en.txt", "dict.de.txt", "bpecodes", "notes.md", "train.log")
    with open_model_files([tmp_path / "a"]) as found:
        assert [path.name for path in found.checkpoints] == ["model2.pt", "model10.pt"]
        assert [path.name for path in found.ordered_dictionaries("en", "de")] == ["dict.en.txt", "dict.de.txt"]
        assert [path.name for path in found.ordered_dictionaries("de", "en")] == ["dict.de.txt", "dict.en.txt"]
        assert [path.name for path in found.codes] == ["bpecodes"]
    write(
        tmp_path / "b",
        "checkpoint_last.pt",
        "checkpoint_best.pt",
        "checkpoint1.pt",
        "dict.txt",
        "sentencepiece.bpe.model",
    )
    with open_model_files([tmp_path / "b"]) as found:
        assert found.checkpoints[0].name == "checkpoint_best.pt"
        assert found.ordered_dictionaries("en", "de") == (tmp_path / "b" / "dict.txt",) * 2
        assert [path.name for path in found.sentencepiece] == ["sentencepiece.bpe.model"]
    given = write(tmp_path / "c", "average", "source", "target", "merges")
    given[0].write_bytes(b"PK\x03\x04")
    for path in given[1:3]:
        path.write_bytes(b"hund 10\n")
    with open_model_files(given) as found:
        assert found.used == given


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dict.en.txt"], "no checkpoint"),
        (["model.pt"], "no dictionary"),
        (["model.pt", "dict.txt", "bpecodes", "spm.model"], "BPE codes and a SentencePiece model"),
        (["model.pt", "dict.txt", "a.model", "b.model", "c.model"], "more than two files"),
    ],
)
def test_incomplete_folders_are_refused(tmp_path, names, message):
    write(tmp_path / "model", *names)
    with pytest.raises(UserError, match=message), open_model_files([tmp_path / "model"]):
        pass


def test_folders_are_given_alone(tmp_path):
    write(tmp_path / "model", "model.pt", "dict.txt")
    with (
        pytest.raises(UserError, match="a folder"),
        open_model_files([tmp_path / "model", tmp_path / "model" / "dict.txt"]),
    ):
        pass
    write(tmp_path / "three", "model.pt", "dict.a.txt", "dict.b.txt", "dict.c.txt")
    with open_model_files([tmp_path / "three"]) as found, pytest.raises(UserError, match="3 dictionaries"):
        found.ordered_dictionaries("x", "y")


def test_an_archive_cannot_write_elsewhere(tmp_path):
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("../../model.pt", tarfile.REGTYPE),
            ("/dict.txt", tarfile.REGTYPE),
            ("x/codes", tarfile.SYMTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, content = kind, "/etc/passwd", b"PK\x03\x04"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    with open_model_files([path]) as found:
        assert [each.name for each in found.used] == ["model.pt", "dict.txt"]
        assert len({each.parent for each in found.used}) == 1
        folder = found.used[0].parent
    assert not folder.exists()
    damaged = tmp_path / "damaged.tar.gz"
    with tarfile.open(damaged, "w:gz") as archive:
        archive.add(path, "model.pt")
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"damaged archive|no dictionary"), open_model_files([damaged]):
        pass
