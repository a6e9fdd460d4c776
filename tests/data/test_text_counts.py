"""Tokenizers from counts of words: the same as from the text itself, and from a sample beyond the limit."""

import io
import random
from collections import Counter

import pytest
import sentencepiece

from allyouneed.data.files.formats import read_pairs
from allyouneed.data.tokens.sentencepiece_model import read_model
from allyouneed.data.tokens.text_counts import TextCounts
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, to_nfc
from allyouneed.data.tokens.tokenizer_training import learn_from_counts, learn_tokenizer
from tests.data.test_tokenizer_training import HOSTILE, TEXT, chinese

DATES = [f"am {day}. {month} {year}, um {hour:02} Uhr" for day in range(1, 29) for month, year, hour in
         (("Mai", 2020 + day % 9, day % 24), ("Juni", 1990 + day, 3), ("Juli", 2000 + day, 12))]  # fmt: skip


def counted(sentences, subwords="bpe", limit=10**9, symbols=()):
    text = TextCounts(subwords, limit, symbols)
    for sentence in sentences:
        text.add(sentence)
    return text


def trained_on_sentences(sentences, vocab_size, subwords, symbols):
    """Train as SentencePiece does on a file of sentences."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=map(to_nfc, sentences), model_writer=model, vocab_size=vocab_size, model_type=subwords,
        character_coverage=0.9999, byte_fallback=True, user_defined_symbols=list(symbols), split_digits=True,
        normalization_rule_name="identity", pad_id=PAD, unk_id=UNK, bos_id=BOS, eos_id=EOS,
        max_sentence_length=100_000, num_threads=2, minloglevel=2,
    )  # fmt: skip
    return read_model(model.getvalue())


@pytest.mark.parametrize("subwords", ["bpe", "unigram", "word", "char"])
@pytest.mark.parametrize("symbols", [(), (">>de<<", "<a b>")], ids=["plain", "symbols"])
def test_pieces_are_those_of_the_text_itself(subwords, symbols):
    texts = [
        TEXT,
        chinese(200, 300),
        [*DATES, *HOSTILE[1:], ">>de<< so <a b> so", "viel  Platz   hier ", "a ▁ b▁", "x" * 120_000],
    ]
    for sentences in texts:
        tokenizer = learn_tokenizer(sentences, 37_000, subwords, symbols=symbols)
        expected = trained_on_sentences(sentences, len(tokenizer), subwords, symbols)
        assert read_model(tokenizer.model).pieces == expected.pieces


def test_characters_are_those_of_the_text():
    expected = Counter("".join(TEXT))
    expected[" "] += len(TEXT)
    assert counted(TEXT).characters() == expected


def test_counts_of_frequent_words_stay_exact_beyond_the_limit():
    rng = random.Random(1)
    words = [f"w{number}" for number in range(20_000)]
    drawn = rng.choices(words, [1 / rank for rank in range(1, len(words) + 1)], k=200_000)
    text = counted((" ".join(drawn[start : start + 10]) for start in range(0, len(drawn), 10)), limit=20_000)
    kept = dict(line.split("\t") for line in text.lines())
    exact = Counter(drawn)
    assert sum(map(len, kept)) <= 25_000 < sum(map(len, exact))
    for word, count in exact.most_common(200):
        assert abs(int(kept[word]) - count) <= 64  # what was not counted before the word was kept
    assert abs(sum(map(int, kept.values())) - len(drawn)) < 0.05 * len(drawn)
    assert list(text.lines()) == list(
        counted((" ".join(drawn[start : start + 10]) for start in range(0, len(drawn), 10)), limit=20_000).lines()
    )


@pytest.mark.parametrize("subwords", ["bpe", "unigram"])
def test_a_tokenizer_of_real_text_from_a_part_needs_hardly_more_tokens(multi30k, subwords):
    texts = [text for pair in read_pairs([multi30k / f"val.{side}.gz" for side in ("de", "en")]) for text in pair[1:3]]
    train, test = texts[200:], texts[:200]
    whole, part = counted(train, subwords), counted(train, subwords, 20_000)
    assert sum(map(len, part._counts)) <= 25_000 < sum(map(len, whole._counts))
    assert (whole.is_weighted, part.is_weighted) == (subwords == "bpe", True)
    tokenizers = [learn_from_counts(text, 1500, subwords, 1.0) for text in (whole, part)]
    needed = [sum(map(len, tokenizer.encode_all(test))) for tokenizer in tokenizers]
    assert needed[1] < needed[0] * 1.1


def test_a_tokenizer_of_each_side(tmp_path):
    assert isinstance(learn_from_counts(counted(TEXT), 300, "bpe", 1.0), Tokenizer)
    assert not counted(["", ""])
