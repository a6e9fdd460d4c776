"""Several corpora: how they are given, and what is prepared from them."""

import random

import pytest

from allyouneed.config import DataConfig
from allyouneed.data.corpora import Corpus, as_corpora, corpus, total
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.files.formats import RawPair
from allyouneed.data.held_out import HeldOut
from allyouneed.data.prepare import prepare
from allyouneed.data.store import open_store
from allyouneed.errors import UserError
from tests.conftest import toy_pairs, write_pairs

DATA = DataConfig(vocab_size=300, max_length=20)


def write_corpus(folder, name: str, pairs) -> Corpus:
    return corpus(*write_pairs(folder, name, pairs))


def texts_of(prepared) -> list[tuple[str, str]]:
    store, tokenizer = open_store(prepared.train), prepared.tokenizer()
    sides = store.source, store.target
    return [tuple(tokenizer.decode(side[index]) for side in sides) for index in range(len(store))]


def test_a_flat_list_is_one_corpus_and_a_nested_one_several(tmp_path):
    (tmp_path / "c.tsv").write_text("a\tb\n")
    assert as_corpora("a.tsv") == (corpus("a.tsv"),)
    assert as_corpora(["a.de", "a.en"]) == (corpus("a.de", "a.en"),)
    assert as_corpora([["a.de", "a.en"], [tmp_path / "c.tsv"]]) == (corpus("a.de", "a.en"), corpus(tmp_path / "c.tsv"))
    assert as_corpora([["a.de", "a.en"], "c.tsv"]) == (corpus("a.de", "a.en"), corpus("c.tsv"))
    two = [[tmp_path / "c.tsv"], [tmp_path / "c.tsv"]]
    assert [each.paths for each in as_corpora(two)] == [tuple(each) for each in two]


def test_the_sides_of_a_corpus_given_as_two_corpora_are_named(tmp_path):
    sides = write_pairs(tmp_path, "train", toy_pairs(5))
    with pytest.raises(UserError, match=r"given as two corpora.*--train \S+train\.src \S+train\.tgt"):
        as_corpora([[side] for side in sides])


def test_corpora_follow_each_other_and_are_reported_one_by_one_and_in_sum(tmp_path):
    pairs = list(dict.fromkeys(toy_pairs(300)))
    first, second = pairs[:150], [*pairs[100:], ("a b", ""), pairs[200], ("x y z", "z y x")]
    train = [write_corpus(tmp_path, "first", first), write_corpus(tmp_path, "second", second)]
    valid = [write_corpus(tmp_path, name, toy_pairs(10, seed)) for name, seed in (("v", 7), ("w", 8))]
    prepared = prepare(tmp_path / "data", train, valid, DATA, lambda line: None)
    assert texts_of(prepared) == [*pairs, ("x y z", "z y x")]
    assert prepared.valid_texts() == [*toy_pairs(10, 7), *toy_pairs(10, 8)]
    of_first, of_second = prepared.corpora()
    assert (of_first["kept"], of_second["kept"], of_second["pairs"]) == (150, len(pairs) - 149, len(second))
    counts = {reason: found["count"] for reason, found in of_second["dropped"].items()}
    assert counts == {"duplicate of a pair in an earlier corpus": 50, "empty side": 1, "duplicate": 1}
    whole = prepared.report()["train"]
    assert whole["kept"] == len(pairs) + 1
    assert whole["source_tokens"] == of_first["source_tokens"] + of_second["source_tokens"]
    assert whole["longest_source"] == max(of_first["longest_source"], of_second["longest_source"])
    assert list(prepared.reports()) == ["train 1", "train 2", "train in all", "valid 1", "valid 2", "valid in all"]
    assert f"train, 2 corpora: {len(first) + len(second):,} pairs, {len(pairs) + 1:,} kept" in prepared.report_lines()


def test_pairs_are_held_out_of_the_first_corpus_and_of_no_other(tmp_path):
    pairs = list(dict.fromkeys(toy_pairs(700)))
    rng = random.Random(4)
    other = [(source, " ".join(rng.sample("klmn", 3))) for source, _ in pairs[:200]]  # the same sources
    train = [write_corpus(tmp_path, "first", pairs[:400]), write_corpus(tmp_path, "second", [*other, *pairs[400:]])]
    messages = []
    prepared = prepare(tmp_path / "data", train, None, DATA, messages.append)
    held_out = [pair for pair in pairs[:400] if HeldOut({corpus(): 20}).choice(corpus())(RawPair(1, *pair))]
    assert prepared.valid_texts() == held_out
    assert f"{len(held_out)} training pairs of first.src, first.tgt are held out" in messages[-1]
    sources = {source for source, _ in held_out}
    assert texts_of(prepared) == [pair for pair in [*pairs[:400], *other, *pairs[400:]] if pair[0] not in sources]
    [dropped] = prepared.corpora()[1]["dropped"].items()
    assert dropped[0] == "source is held out for validation"
    assert dropped[1]["count"] == sum(source in sources for source, _ in other) > 0


def test_one_corpus_has_the_same_folder_as_before(tmp_path):
    prepared = prepare(
        tmp_path / "data", [write_corpus(tmp_path, "train", toy_pairs(300))], [], DATA, lambda line: None
    )
    assert prepared.reports() == prepared.report()
    assert prepared.corpora() == [prepared.report()["train"]]
    assert '"corpora"' not in (tmp_path / "data" / "corpus.json").read_text()


def test_an_unusable_corpus_is_named(tmp_path):
    train = [write_corpus(tmp_path, "good", toy_pairs(100)), write_corpus(tmp_path, "bad", [("", "x")] * 9)]
    with pytest.raises(UserError, match=r"bad\.src and \S+bad\.tgt: no usable pairs \(9 empty side\)"):
        prepare(tmp_path / "data", train, None, DATA, lambda line: None)


def test_the_sum_of_reports_keeps_a_few_examples():
    reports = [CorpusReport([name], pairs=10, kept=6, longest_source=length) for name, length in (("a", 7), ("b", 5))]
    for report in reports:
        for line in (3, 4):
            report.drop(RawPair(line, "x", "y"), "duplicate")
    whole = total(reports)
    assert (whole.files, whole.pairs, whole.kept, whole.longest_source) == (["a", "b"], 20, 12, 7)
    assert whole.dropped["duplicate"]["count"] == 4
    assert [example["line"] for example in whole.dropped["duplicate"]["examples"]] == [3, 4, 3]
    assert total(reports[:1]) is reports[0]
