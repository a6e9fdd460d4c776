"""Files that commands read besides models, text and recipes: notes of interrupted work, files of a server, tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from allyouneed.config import load_recipe
from allyouneed.data.block_files import read_block, write_block
from allyouneed.data.blocks import prepare_block
from allyouneed.data.files.tables import RawPair
from allyouneed.data.tokens.own_tokenizer import load_own_tokenizer
from allyouneed.data.tokens.tokenizer import load_tokenizer
from allyouneed.documents import finished_sentences
from allyouneed.documents.document_files import FileOptions, translate_documents
from allyouneed.errors import UserError
from allyouneed.exchange.reading.segmenter_files import read_segmenters
from allyouneed.files import sha256
from allyouneed.insight.statistics.aligner import read_alignments
from allyouneed.paper.results_folder import Results
from allyouneed.paper.table4.treebank import read_trees
from allyouneed.serving.access.api_keys import AccessControl, add_key
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.glossaries import Entry, GlossaryStore
from allyouneed.translation.back_translation import back_translate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.resuming import ResumeNote
from allyouneed.translation.text_files import translate_file
from allyouneed.translation.translator import Translator
from benchmarks.measure.hostile.samples import COMPAT, DATA, Sample
from tests.compat import POST_NORM
from tests.conftest import silent

_LINES = [f"{'abcdefgh'[i % 8]} b {'hgfedcba'[i % 8]}" for i in range(6)]
_DIGEST = "DIGEST"  # stands in a note for the digest of a translation, which depends on the folder
_PAIR, _OWNER = ("de", "en"), "owner"
_TREES = "( (S (NP (NNP Ms.) (NNP Haag)) (VP (VBZ plays) (NP (NNP Elianti))) (. .)) )\n" * 3
_REQUEST = {"minutes": 1.5, "train": ["a", "b"]}
_OPTIONS = SearchOptions(beam_size=1)


def command_files(folder: Path) -> dict[str, Sample]:
    """Write a sample of each kind to a folder."""
    return {**_notes(folder), **_of_server(folder), **_tables(folder), **_tokens(folder)}


def _notes(folder: Path) -> dict[str, Sample]:
    """Outputs of interrupted commands, with the notes next to them."""
    found = {}
    kinds: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
        "note of lines": (_use_lines, "out.txt", "".join(f"{line}\n" for line in _LINES[:2])),
        "note of a corpus": (_use_corpus, "out.tsv", "".join(f"<bt> {line}\t{line}\n" for line in _LINES[:2])),
        "note of a document": (_use_document, "out.md", ""),
    }
    for name, (use, output, text) in kinds.items():
        (folder / name / "out").mkdir(parents=True)
        shutil.copytree(POST_NORM, folder / name / "run" / "bundle")
        (folder / name / "source.md").write_text("".join(f"{line}\n\n" for line in _LINES))
        (folder / name / "source.txt").write_text("".join(f"{line}\n" for line in _LINES))
        if text:
            (folder / name / "out" / output).write_text(text)
        facts = {"unchanged": [0, 0], "dropped": {"empty": 1}}
        note = json.dumps({"digest": _DIGEST, "lines": 2, "bytes": len(text), "facts": facts})
        if use is _use_document:
            lines = [{"digest": _DIGEST}, *([[line, [], []], False, [line, [], [], [], -0.5, []]] for line in _LINES)]
            note = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / name / "out" / f"{output}.resume").write_text(note)
        found[name] = Sample(folder / name, use, "out")
    return found


def _use_lines(folder: Path, _: Path) -> None:
    """Resume the translation of lines."""
    translator = Translator.load(folder / "run", inter_threads=1)
    with _digest_filled():
        translate_file(translator, folder / "source.txt", folder / "out" / "out.txt", _OPTIONS, False, _say, True)


def _use_corpus(folder: Path, _: Path) -> None:
    """Resume the translation of monolingual text."""
    translator = Translator.load(folder / "run", inter_threads=1)
    with _digest_filled():
        output = folder / "out" / "out.tsv"
        corpus = back_translate(translator, folder / "source.txt", output, _OPTIONS, resume=True, report=_say)
        list(corpus.report_lines())
        corpus.training_command()


def _use_document(folder: Path, _: Path) -> None:
    """Resume the translation of a document."""
    translator = Translator.load(folder / "run", inter_threads=1)
    with patch.object(finished_sentences, "digest_of", lambda *_: _DIGEST):
        output = folder / "out" / "out.md"
        translate_documents(translator, folder / "source.md", output, FileOptions(resume=True), silent())


@contextmanager
def _digest_filled() -> Iterator[None]:
    """Write the right digest into a note where it has the stand-in."""
    create = ResumeNote.create

    def created(*arguments: object) -> ResumeNote:
        note = create(*arguments)  # type: ignore[arg-type]
        if note.path.is_file() and not note.path.is_symlink() and note.path.stat().st_size < 1 << 24:
            note.path.write_bytes(note.path.read_bytes().replace(_DIGEST.encode(), note.digest.encode()))
        return note

    with patch.object(ResumeNote, "create", created):
        yield


def _of_server(folder: Path) -> dict[str, Sample]:
    """Glossaries that a server stores, and its keys with their usage."""
    glossaries, keys = folder / "server glossaries", folder / "server keys"
    store = GlossaryStore(glossaries / "store", 1 << 20)
    store.create(_OWNER, "words", [(_PAIR, [Entry("Hund", "dog"), Entry("Katze", "cat")])])
    keys.mkdir()
    secret = add_key(keys / "keys.json", "one", 10, 1000)
    (keys / "secret").write_text(secret)
    access = AccessControl(keys / "keys.json")
    if charge := access.charge(access.admit(secret, "127.0.0.1"), 10):
        charge.settle(True)
    access.save_usage()
    for each in (glossaries, keys):  # only what is changed
        (each / "part").mkdir()
    (glossaries / "store").rename(glossaries / "part" / "store")
    for name in ("keys.json", "keys.usage.json"):
        (keys / name).rename(keys / "part" / name)
    return {
        "server glossaries": Sample(glossaries, _use_glossaries, "part"),
        "server keys": Sample(keys, _use_keys, "part"),
    }


def _use_glossaries(folder: Path, _: Path) -> None:
    """List, read, use, change and delete glossaries."""
    store = GlossaryStore(folder / "part" / "store", 1 << 20)
    try:
        for each in store.all(_OWNER):
            store.entries(_OWNER, each.glossary_id, _PAIR)
            store.load(_OWNER, [each.glossary_id], _PAIR)
            store.update(_OWNER, each.glossary_id, None, {_PAIR: [Entry("Haus", "house")]}, True)
            store.delete(_OWNER, each.glossary_id)
    except ApiError as error:
        raise UserError(str(error)) from error


def _use_keys(folder: Path, _: Path) -> None:
    """Admit and charge requests, and add a key."""
    file = folder / "part" / "keys.json"
    try:
        access = AccessControl(file)
        if charge := access.charge(access.admit((folder / "secret").read_text(), "127.0.0.1"), 10):
            charge.settle(True)
        access.save_usage()
        access.reload_keys()
    except ApiError as error:
        raise UserError(str(error)) from error
    add_key(file, "two")


def _tables(folder: Path) -> dict[str, Sample]:
    """Alignments, trees and measurements of an interrupted command."""
    alignments, trees, results = (folder / name for name in ("alignments", "treebank", "paper results"))
    for each in (alignments, trees, results):
        each.mkdir()
    (alignments / "gold.txt").write_text("0-0 1-2 2?1\n" * 5)
    (trees / "train.mrg").write_text(_TREES)
    Results(results, _REQUEST).store("base", {"rows": [{"bleu": 25.8, "loss": None}]})
    return {
        "alignments": Sample(alignments, _use_alignments),
        "treebank": Sample(trees, _use_treebank),
        "paper results": Sample(results, lambda folder, _: Results(folder, _REQUEST).part("base", dict)),
    }


def _use_alignments(folder: Path, _: Path) -> None:
    if (folder / "gold.txt").exists() and not (folder / "gold.txt").is_file():
        return  # a pipe that the user names is read
    read_alignments(folder / "gold.txt", 5)


def _use_treebank(folder: Path, _: Path) -> None:
    sha256(folder / "train.mrg")
    for tree in read_trees(folder / "train.mrg"):
        tree.linearized()


def _tokens(folder: Path) -> dict[str, Sample]:
    """Tokenizers of other programs, and blocks of text whose preparation was interrupted."""
    own, codes, blocks = (folder / name for name in ("own tokenizer", "segmenters", "blocks"))
    for each in (own, codes, blocks):
        each.mkdir()
    shutil.copy(POST_NORM / "tokenizer.model", own / "own.model")
    shutil.copy(POST_NORM / "tokenizer.model", codes / "source.spm")
    shutil.copy(DATA / "fairseq" / "bpecodes", codes / "target.bpe")
    pairs = [RawPair(number, line, line[::-1]) for number, line in enumerate(_LINES, 1)]
    tokenizer = load_tokenizer(COMPAT / "format-2" / "tokenizer.model")
    write_block(blocks / "a.npz", prepare_block(pairs, load_recipe("tiny").data, tokenizer))
    return {
        "own tokenizer": Sample(own, _use_own_tokenizer),
        "segmenters": Sample(codes, _use_segmenters),
        "blocks": Sample(blocks, _use_block),
    }


def _use_own_tokenizer(folder: Path, _: Path) -> None:
    tokenizer = load_own_tokenizer([folder / "own.model"], ["<2de>"])
    tokenizer.decode(tokenizer.encode(_LINES[0]))


def _use_segmenters(folder: Path, _: Path) -> None:
    for segmenter in read_segmenters([folder / "source.spm", folder / "target.bpe"]):
        segmenter.join(segmenter.split(_LINES[0]))


def _use_block(folder: Path, _: Path) -> None:
    if read_block(folder / "a.npz") is None:
        raise UserError("damaged")


def _say(_: str) -> None:
    pass
