"""Segmentation by BPE codes, compared with subword-nmt's own, and at spaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, SpaceSegmenter, read_codes
from allyouneed.data.tokens.stored_segmenters import load_segmenter
from allyouneed.data.tokens.tokenizer import UNK
from allyouneed.data.tokens.vocabulary import Vocabulary, VocabularyTokenizer, load_tokenizers
from allyouneed.errors import UserError

STORED = json.loads((Path(__file__).parent / "files" / "bpe.json").read_text(encoding="utf-8"))
CODES = STORED["0.2"]["codes"].encode()
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("version", ["0.2", "0.1", "no version", "fastBPE"])
def test_words_are_segmented_as_by_subword_nmt(version):
    segmenter = BpeSegmenter(STORED[version]["codes"].encode())
    assert [segmenter.split(word) for word in STORED["words"]] == STORED[version]["tokens"]
    assert segmenter.split(" ".join(STORED["words"])) == [token for word in STORED[version]["tokens"] for token in word]


def test_joining_restores_words_and_spaces():
    segmenter = BpeSegmenter(CODES)
    text = " ".join(STORED["words"])
    assert segmenter.join(segmenter.split(text)) == text
    assert segmenter.join(["hel@@", "lo", "@@", "wor@@"]) == "hello wor@@".removesuffix("@@")
    assert BpeSegmenter(CODES, separator="￭").join(["hel￭", "lo"]) == "hello"


def test_tokens_are_shown_with_the_beginnings_of_words():
    segmenter = BpeSegmenter(CODES)
    tokens = [*segmenter.split("eine zerzauste katze"), "</s>"]
    shown = segmenter.shown(tokens)
    assert "".join(shown).replace("▁", " ") == " eine zerzauste katze</s>"
    assert segmenter.tokens(shown) == tokens
    spaces = SpaceSegmenter()
    assert spaces.shown(["a", "b", "</s>"]) == ["▁a", "▁b", "</s>"]
    assert spaces.tokens(["▁a", "▁b", "</s>"]) == ["a", "b", "</s>"]


def test_a_word_without_end_is_segmented_in_bounded_time():
    segmenter = BpeSegmenter(CODES)
    word = "einander" * 2000
    assert segmenter.join(segmenter.split(word)) == word


@pytest.mark.parametrize(
    "content",
    [b"", b"a b\na b c\n", b"#version: x\na b\n", b"one\ntwo\n", b"\xff\xfe a\n", b"a b c d\n", b"a b\n\nc d\n"],
)
def test_other_files_are_not_codes(content):
    with pytest.raises(ValueError, match=r"codes|int|decode"):
        read_codes(content)


def test_moses_separates_punctuation_and_joins_it_again():
    pytest.importorskip("sacremoses")
    moses = Moses("en")
    segmenter = SpaceSegmenter(moses)
    text = 'He said: "that\'s a well-known dog & cat."'
    tokens = segmenter.split(text)
    assert tokens == [
        "He",
        "said",
        ":",
        "&quot;",
        "that",
        "&apos;s",
        "a",
        "well",
        "@-@",
        "known",
        "dog",
        "&amp;",
        "cat",
        ".",
        "&quot;",
    ]
    assert segmenter.join(tokens) == text
    assert segmenter.shown(["that", "&apos;s", "@-@", "</s>"]) == ["▁that", "▁'s", "▁-", "</s>"]
    assert SpaceSegmenter(Moses("en", escape=False, dashes=False)).split("that's well-known") == [
        "that",
        "'s",
        "well-known",
    ]
    assert load_segmenter(b"", {"kind": "space", **segmenter.settings()}).moses == moses


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sacremoses", None)
    with pytest.raises(UserError, match="sacremoses is not installed"):
        SpaceSegmenter(Moses("de")).split("Hund")


def vocabulary(*names: str) -> Vocabulary:
    return Vocabulary([*SPECIAL, *names], list(range(4 + len(names))))


def test_a_tokenizer_of_bpe_is_stored_and_loaded(tmp_path):
    target = VocabularyTokenizer(SpaceSegmenter(), vocabulary("hund", "katze"))
    source = VocabularyTokenizer(BpeSegmenter(CODES), vocabulary("do@@", "g", "a"), target)
    assert source.pieces(source.encode("dog a")) == ["▁do", "g", "▁a"]
    assert source.ids(["▁do", "g", "▁a", "</s>"]) == [*source.encode("dog a"), 3]
    assert source.decode(source.encode("a dog")) == "a dog"
    for name, content in source.files().items():
        (tmp_path / name).write_bytes(content)
    assert {path.name for path in tmp_path.iterdir()} == {"source.bpe", "vocabulary.json"}
    loaded = load_tokenizers(tmp_path)
    assert loaded.files() == source.files()
    assert loaded.encode("dog") == source.encode("dog")
    assert loaded.target.encode("hund") == [4]
    with pytest.raises(UserError, match="requires a SentencePiece model"):
        _ = loaded.model
    (tmp_path / "source.bpe").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a valid tokenizer"):
        load_tokenizers(tmp_path)


def test_text_cannot_name_special_tokens():
    tokenizer = VocabularyTokenizer(SpaceSegmenter(), vocabulary("a"))
    assert tokenizer.encode("a </s> <s> <pad> <unk> b") == [4, UNK, UNK, UNK, UNK, UNK]
    assert tokenizer.shared
    assert tokenizer.target is tokenizer
