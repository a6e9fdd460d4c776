"""Directions of multilingual models: how they are given, and what the model sees of a pair."""

import pytest

from allyouneed.config import DataConfig
from allyouneed.data.corpora import common_tag, corpus, in_directions, training_text
from allyouneed.data.directions import parse_directions
from allyouneed.data.files.formats import RawPair
from allyouneed.data.prepare import prepare
from allyouneed.data.store import open_store
from allyouneed.errors import UserError
from tests.conftest import toy_pairs, write_pairs

DE_EN, FR_EN, EN_DE, EN_FR = ("de", "en"), ("fr", "en"), ("en", "de"), ("en", "fr")


def test_directions_are_pairs_of_languages_in_any_spelling():
    assert parse_directions("de-en, fr-en") == [DE_EN, FR_EN]
    assert parse_directions("German:English") == [DE_EN]
    assert parse_directions("pt_BR:zh-hans") == [("pt-BR", "zh-Hans")]
    assert parse_directions([("de", "en"), "fr-en"]) == [DE_EN, FR_EN]


@pytest.mark.parametrize("text", ["de", "de-", "de-en-fr", "pt-BR-en", "de:en:fr", [("de",)], [("de", 3)]])
def test_what_is_not_two_languages_is_refused(text):
    with pytest.raises(UserError, match=r"not two languages. Give two languages, for example de-en, or pt-BR:en"):
        parse_directions(text)


def test_both_ways_doubles_each_corpus():
    train, valid = in_directions([corpus("a"), corpus("b")], [corpus("v"), corpus("w")], [DE_EN, FR_EN], True)
    assert [(str(each), each.direction, each.is_reversed) for each in train] == [
        ("a", DE_EN, False), ("a", EN_DE, True), ("b", FR_EN, False), ("b", EN_FR, True),
    ]  # fmt: skip
    assert [(str(each), each.direction) for each in valid] == [("v", DE_EN), ("v", EN_DE), ("w", FR_EN), ("w", EN_FR)]
    assert [each.direction for each in in_directions([corpus("a"), corpus("b")], [], [DE_EN])[0]] == [DE_EN, DE_EN]


def test_a_validation_corpus_belongs_to_a_direction():
    three = [corpus(name) for name in "abc"]
    _, valid = in_directions(three, [corpus("v"), corpus("w")], [DE_EN, FR_EN, DE_EN])
    assert [each.direction for each in valid] == [DE_EN, FR_EN]
    with pytest.raises(UserError, match="1 validation corpora for 2 directions: give one --valid for each direction"):
        in_directions(three, [corpus("v")], [DE_EN, FR_EN, DE_EN])
    with pytest.raises(UserError, match="2 directions for 3 corpora: give one for each --train"):
        in_directions(three, [], [DE_EN, FR_EN])


def test_languages_are_given_once():
    assert training_text(["a", "b"], None, ("de", "en")).languages == DE_EN
    both = training_text(["a", "b"], None, ("de", "en"), both_ways=True)
    assert [each.direction for each in both.train] == [DE_EN, EN_DE]
    with pytest.raises(UserError, match="Give one or the other"):
        training_text(["a", "b"], None, ("de", None), directions="de-en")
    with pytest.raises(UserError, match="the languages are missing"):
        training_text(["a", "b"], None, ("de", None))


def test_a_pair_is_presented_in_its_direction():
    [plain, turned], _ = in_directions([corpus("a")], [], [DE_EN], True)
    pair = RawPair(7, "Hund", "dog")
    assert plain.presented(pair) == RawPair(7, ">>en<< Hund", "dog")
    assert turned.presented(pair) == RawPair(7, ">>de<< dog", "Hund")
    assert plain.presented(RawPair(7, "", "dog")).source == ""
    assert corpus("a").presented(pair) == pair


def test_pairs_held_out_are_in_the_training_text_of_no_direction(tmp_path):
    pairs = list(dict.fromkeys(toy_pairs(500)))
    train, _ = in_directions([corpus(*write_pairs(tmp_path, "train", pairs))], [], [("x-a", "x-b")], True)
    prepared = prepare(tmp_path / "data", train, None, DataConfig(vocab_size=300, max_length=40), lambda line: None)
    store, tokenizer = open_store(prepared.train), prepared.tokenizer()
    sources, targets = ([tokenizer.decode(side[i]) for i in range(len(store))] for side in (store.source, store.target))
    held_out = {(source, target) for source, target in prepared.valid_texts()}
    forward = {(source.removeprefix(">>x-b<< "), target) for source, target in held_out if source.startswith(">>x-b<<")}
    backward = {(target, source.removeprefix(">>x-a<< ")) for source, target in held_out if ">>x-a<<" in source}
    assert forward == backward
    assert len(forward) > 10
    trained = list(zip(sources, targets, strict=True))
    assert len(trained) == 2 * (len(pairs) - len(forward))
    assert {(s.removeprefix(">>x-b<< "), t) for s, t in trained if ">>x-b<<" in s} == set(pairs) - forward
    assert {(t, s.removeprefix(">>x-a<< ")) for s, t in trained if ">>x-a<<" in s} == set(pairs) - forward


@pytest.mark.parametrize("code", [">>x-b<<", ">>x-a<<"])
def test_a_code_is_one_token_after_the_space_of_a_sentence(tmp_path, code):
    train, _ = in_directions([corpus(*write_pairs(tmp_path, "train", toy_pairs(200)))], [], [("x-a", "x-b")], True)
    prepared = prepare(tmp_path / "data", train, None, DataConfig(vocab_size=300, max_length=40), lambda line: None)
    tokenizer = prepared.tokenizer()
    assert set(tokenizer.codes) == {">>x-a<<", ">>x-b<<"}
    assert tokenizer.pieces(tokenizer.encode(f"{code} a"))[-2:] == [code, "▁a"]
    coded = tokenizer.with_code(code)
    assert coded.encode("a b") == coded.encode_all(["a b"])[0] == tokenizer.encode(f"{code} a b")
    assert coded.encode(">>x-a<< a b") == tokenizer.encode(">>x-a<< a b")
    assert coded.encode("") == coded.encode(" ") == []
    assert coded.target.encode("a b") == tokenizer.encode("a b")


def test_a_tag_that_all_sources_share_is_found(tmp_path):
    def tag_of(*sources: str) -> str | None:
        (tmp_path / "a.tsv").write_text("".join(f"{source}\tx\n" for source in sources))
        return common_tag(corpus(tmp_path / "a.tsv"))

    assert tag_of("<bt> a b", "<bt> c") == "<bt>"
    assert tag_of("<bt> a b", "c") is None
    assert tag_of("<bt> a", "<p> b") is None
    assert tag_of("<bt>", "<bt> a") is None
    assert tag_of("a < b", "c") is None


def test_the_tag_of_a_synthetic_corpus_is_one_token(tmp_path):
    rows = [f"<bt> {source}\t{target}\n" for source, target in toy_pairs(100, seed=3)]
    (tmp_path / "bt.tsv").write_text("".join(rows))
    messages: list[str] = []
    train = [corpus(*write_pairs(tmp_path, "train", toy_pairs(200))), corpus(tmp_path / "bt.tsv")]
    prepared = prepare(tmp_path / "data", train, None, DataConfig(vocab_size=300, max_length=40), messages.append)
    tokenizer = prepared.tokenizer()
    assert "<bt>" in tokenizer.pieces(tokenizer.encode("<bt> a b"))
    assert "bt.tsv: every source begins with <bt>, which is one token" in messages
