"""Back-translation: rows, dropped lines, tags, and resuming."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from allyouneed import Translator, UserError
from allyouneed.translation import line_blocks
from allyouneed.translation.back_translation import back_translate, default_output
from allyouneed.translation.options import SearchOptions
from tests.conftest import toy_pairs

GREEDY = SearchOptions(beam_size=1)


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


class Scripted(Translator):
    """A translator with given translations; other lines are reversed."""

    known: ClassVar[dict[str, str]] = {}
    calls = 0

    def translate(self, texts, options=None, **more):
        type(self).calls += len(texts)
        found = super().translate(texts, options, **more)
        texts = [self.known.get(text, text[::-1]) for text in texts]
        return [replace(each, text=text, tokens=text.split()) for each, text in zip(found, texts, strict=True)]


@pytest.fixture
def scripted(translator, monkeypatch):
    monkeypatch.setattr(Scripted, "known", {})
    monkeypatch.setattr(Scripted, "calls", 0)
    return Scripted(translator.bundle)


def rows_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_sources_are_tagged_translations_and_targets_the_lines(scripted, tmp_path):
    lines = list(dict.fromkeys(source for source, _ in toy_pairs(30, seed=9)))
    (tmp_path / "mono.aa").write_text("".join(f"{line}\n" for line in lines))
    corpus = back_translate(scripted, tmp_path / "mono.aa", options=GREEDY, report=print)
    assert (corpus.path, corpus.languages) == (tmp_path / "mono.bb-aa.tsv", ("bb", "aa"))
    rows = rows_of(corpus.path)
    assert rows == [[f"<bt> {line[::-1]}", line] for line in lines if line != line[::-1]]
    assert len(rows) == corpus.pairs == corpus.lines - corpus.dropped["copied, not translated"]
    untagged = back_translate(scripted, tmp_path / "mono.aa", tmp_path / "plain", GREEDY, tag="", report=print)
    assert [f"<bt> {source}" for source, _ in rows_of(untagged.path)] == [source for source, _ in rows]


def test_unusable_lines_are_counted(scripted, tmp_path):
    scripted.known = {"a b c": "A B C", "h g": "", "b c": " ".join("abcdefgh" * 2), "e": "a\ufffd"}
    lines = ["a b", "", "a b", "a b c", "h g", "b c", " ".join("a" * 60), "c\td", "e"]
    (tmp_path / "mono").write_text("".join(f"{line}\n" for line in lines))
    corpus = back_translate(scripted, tmp_path / "mono", tmp_path / "out.tsv", report=print)
    assert rows_of(tmp_path / "out.tsv") == [["<bt> b a", "a b"], ["<bt> d c", "c d"]]
    longest = scripted.longest_source - 1
    assert corpus.dropped == {
        "empty": 1,
        "duplicate": 1,
        "copied, not translated": 1,
        "empty translation": 1,
        "bytes that are no character in the translation": 1,
        "ratio (one side over 4 times the other)": 1,
        f"too long (over {longest} tokens, the longest sentence in training)": 1,
    }
    shown = list(corpus.report_lines())
    assert shown[0] == f"{tmp_path / 'out.tsv'}: 2 pairs from 9 lines"
    assert "  dropped 1: copied, not translated" in shown
    assert scripted.calls == 6  # lines that are dropped before the translation cost nothing


def test_an_interrupted_corpus_is_resumed_with_its_counts(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr(line_blocks, "_MIN_LINES", 3)
    monkeypatch.setattr(line_blocks, "_MAX_LINES", 3)
    lines = [source for source, _ in toy_pairs(40)]
    lines[5:5] = ["", lines[1], ""]
    scripted.known = {lines[2]: lines[2], lines[20]: ""}
    text = tmp_path / "mono"
    text.write_text("".join(f"{line}\n" for line in lines))
    whole = back_translate(scripted, text, tmp_path / "whole.tsv", report=print)
    calls, blocks = Scripted.calls, itertools.count()
    translate = Scripted.translate

    def interrupted(self, *given, **more):
        if next(blocks) == 4:
            raise KeyboardInterrupt
        return translate(self, *given, **more)

    messages: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "translate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            back_translate(scripted, text, tmp_path / "part.tsv", report=messages.append)
    assert "with --resume continues" in messages[-1]
    with open(tmp_path / "part.tsv", "a") as out:
        out.write("half a li")
    resumed = back_translate(scripted, text, tmp_path / "part.tsv", resume=True, report=print)
    assert (tmp_path / "part.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert (resumed.lines, resumed.dropped) == (whole.lines, whole.dropped)
    assert Scripted.calls == 2 * calls
    with pytest.raises(UserError, match="is finished, or was not written"):
        back_translate(scripted, text, tmp_path / "part.tsv", resume=True, report=print)


@pytest.mark.parametrize("tag", ["bt", "<b t>", "<bt", "<<bt>>", "<bt>\t", "<>"])
def test_a_tag_is_one_word_in_angle_brackets(translator, tmp_path, tag):
    with pytest.raises(UserError, match="give one word in angle brackets, for example <bt>"):
        back_translate(translator, tmp_path / "mono", tag=tag, report=print)


def test_mistakes_are_reported_and_an_existing_corpus_is_kept(translator, tmp_path):
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "out.tsv").write_text("earlier")
    with pytest.raises(UserError, match=r"empty: no usable lines \(2 empty\)"):
        back_translate(translator, tmp_path / "empty", tmp_path / "other.tsv", report=print)
    with pytest.raises(UserError, match="absent: no such file"):
        back_translate(translator, tmp_path / "absent", tmp_path / "out.tsv", report=print)
    (tmp_path / "bad").write_bytes(b"%PDF-1.4\n")
    with pytest.raises(UserError, match="PDF"):
        back_translate(translator, tmp_path / "bad", tmp_path / "out.tsv", report=print)
    with pytest.raises(UserError, match="same file"):
        back_translate(translator, tmp_path / "empty", tmp_path / "empty", report=print)
    assert (tmp_path / "out.tsv").read_text() == "earlier"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mono.en", "mono.de-en.tsv"), ("mono.en.gz", "mono.de-en.tsv"), ("mono", "mono.de-en.tsv")],
)
def test_the_name_has_the_direction_to_train(name, expected):
    assert default_output(Path("dir") / name, ("de", "en")) == Path("dir") / expected


def test_the_command_prints_the_training_command(scripted, toy_run, tmp_path, command, monkeypatch):
    monkeypatch.setattr(Translator, "load", lambda *given: scripted)
    (tmp_path / "mono.aa").write_text("".join(f"{source}\n" for source, _ in toy_pairs(20)))
    code, out, shown = command("backtranslate", toy_run, tmp_path / "mono.aa", "--sampling-topk", 5, "--tag", "<syn>")
    assert (code, out) == (0, "")
    path = tmp_path / "mono.bb-aa.tsv"
    assert f"{path}: " in shown
    assert f"train --from bb --to aa --train TRAIN.bb TRAIN.aa --train {path} --weights 1,1 --valid" in shown
    assert all(source.startswith("<syn> ") for source, _ in rows_of(path))


def test_a_tag_and_no_tag_contradict(toy_run, tmp_path, command):
    (tmp_path / "mono.aa").write_text("a b\n")
    code, _, error = command("backtranslate", toy_run, tmp_path / "mono.aa", "--tag", "<x>", "--no-tag")
    assert code == 2
    assert "--tag <x> and --no-tag are both given" in error
