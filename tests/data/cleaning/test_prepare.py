"""Cleaning as part of `prepare`: reports, lists of dropped and repaired pairs, and the text that is trained on."""

import csv
import json
import random

import numpy as np
import pytest

from allyouneed.config import DataConfig
from allyouneed.data.cleaning.near import band_hashes
from allyouneed.data.corpora import as_corpora, corpus, in_directions
from allyouneed.data.duplicates import SeenBands
from allyouneed.data.prepare import prepare
from allyouneed.data.store import open_store
from allyouneed.errors import UserError
from tests.conftest import write_pairs

WHO = [
    ("der Hund", "the dog"),
    ("die Frau", "the woman"),
    ("das schöne Kind", "the beautiful child"),
    ("unser Lehrer", "our teacher"),
    ("eine alte Katze", "an old cat"),
]
WHAT = [
    ("schläft heute im Garten", "sleeps in the garden today"),
    ("läuft morgens durch den großen Park", "runs through the big park in the morning"),
    ("isst abends gerne Brot mit Käse", "likes to eat bread with cheese in the evening"),
    ("wohnt am Ende der Straße", "lives at the end of the street"),
]
BAD = [
    ("schÃ¶ne GrÃ¼ÃŸe aus dem SÃ¼den", "kind regards from the south"),
    ("Das ist wirklich gut &amp; billig.", "That is really good &amp; cheap.\x9d"),
    ("Bitte wählen Sie eine andere Datei aus", "Bitte wählen Sie eine andere Datei aus!"),
    ("Ответ на этот вопрос очень простой", "The answer to this question is simple"),
    ("Am 17. März 1984 kamen 236 Gäste", "On 5 June 2011 there were 79 of them"),
    ("0123 / 4567 -- 89 :: 12 34", "0123 / 4567 -- 89 :: 12 34"),
    ("gut gut gut gut gut gut gut gut gut", "That is very good indeed"),
    ("Ja", "yes of course it is, and we have known about that for quite a long time now, haven't we"),
    ("Der Hund schläft heute im Garten und die Katze im Haus.", "The dog sleeps in the garden, the cat in the inn."),
    ("Der Hund schläft heute im Garten, und die Katze im Haus!", "The dog sleeps in the garden the cat in the inn"),
]  # fmt: skip


def good_pairs(count):
    rng = random.Random(3)
    pairs = []
    for _ in range(count):
        (who, who_en), (what, what_en), number = rng.choice(WHO), rng.choice(WHAT), rng.random()
        pairs.append((f"{who} {what} {number:.3f}", f"{who_en} {what_en} {number:.3f}"))
    return list(dict.fromkeys(pairs))


def run(folder, pairs, cleaning, **settings):
    train = write_pairs(folder, "train", pairs)
    valid = write_pairs(folder, "valid", good_pairs(900)[-20:])
    data = DataConfig(vocab_size=400, cleaning=cleaning, **settings)
    return prepare(folder / "data", [corpus(*train)], [corpus(*valid)], data, lambda line: None, languages=("de", "en"))


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_each_fault_is_found_by_its_check(tmp_path):
    good = good_pairs(600)
    prepared = run(tmp_path, [*good, *BAD], "web")
    dropped = {int(row["line"]) - len(good): row for row in rows(prepared.dropped)}
    assert {number: row["check"] for number, row in dropped.items() if number > 0} == {
        3: "copies",
        4: "script",
        5: "numbers",
        6: "letters",
        7: "repetition",
        8: "ratio",
        10: "near_duplicates",
    }
    assert dropped[3]["reason"] == "copy of the source"
    assert dropped[3]["source"] == BAD[2][0]
    repaired = rows(prepared.repaired)
    assert [int(row["line"]) - len(good) for row in repaired] == [1, 2]
    assert [row["checks"] for row in repaired] == ["encoding", "entities,control"]
    assert repaired[0]["repaired source"] == "schöne Grüße aus dem Süden"
    report = prepared.report()["train"]
    assert report["kept"] == len(open_store(prepared.train)) == report["pairs"] - len(dropped)
    assert report["repaired"]["text decoded with the wrong encoding"]["count"] == 1
    tokenizer = prepared.tokenizer()
    texts = [tokenizer.decode(list(ids)) for ids in open_store(prepared.train).source]
    assert "schöne Grüße aus dem Süden" in texts
    histogram = report["histograms"]["characters of the source"]
    assert sum(histogram["kept"]) == report["kept"]
    assert sum(histogram["dropped"]) == len(dropped)


def test_good_text_is_kept_by_default(tmp_path):
    pairs = [*good_pairs(300), BAD[0], *BAD[2:7], *BAD[8:]]
    prepared = run(tmp_path, [*pairs, pairs[0]], "standard")
    assert [row["check"] for row in rows(prepared.dropped)] == ["duplicates"]
    assert rows(prepared.repaired) == []


def test_unreadable_rows_are_dropped_and_not_repaired(tmp_path):
    lines = [f"{source}\t{target}" for source, target in [*good_pairs(100), ("Gut\x01 so", "Good &amp;\x02 so")]]
    train, valid = tmp_path / "train.tsv", write_pairs(tmp_path, "valid", good_pairs(900)[-20:])
    train.write_text("\n".join([*lines, "Ein Hund\x01 &amp; so\tA dog\tand more"]) + "\n")
    data = DataConfig(vocab_size=400, cleaning="control,entities")
    prepared = prepare(tmp_path / "data", [corpus(train)], [corpus(*valid)], data, lambda line: None)
    assert [int(row["line"]) for row in rows(prepared.repaired)] == [len(lines)]
    assert [(int(row["line"]), row["reason"]) for row in rows(prepared.dropped)] == [
        (len(lines) + 1, "more than 2 columns")
    ]


def test_duplicates_can_be_kept(tmp_path):
    pairs = good_pairs(100)
    assert run(tmp_path, [*pairs, *pairs[:9]], "").report()["train"]["kept"] == len(pairs) + 9


def test_held_out_pairs_are_cleaned_like_the_training_text(tmp_path):
    bad = [(f"{source} {number}", f"{target} {number}") for number in range(60) for source, target in BAD[6:7]]
    files = write_pairs(tmp_path, "train", [*good_pairs(400), *bad])
    data = DataConfig(vocab_size=400, cleaning="web,-near_duplicates")
    prepared = prepare(tmp_path / "data", [corpus(*files)], None, data, lambda line: None, languages=("de", "en"))
    assert "repeated words" in prepared.report()["valid"]["dropped"]
    assert not any("gut gut gut" in source for source, _ in prepared.valid_texts())


def test_a_multilingual_corpus_is_checked_in_both_directions(tmp_path):
    files = write_pairs(tmp_path, "train", [*good_pairs(400), BAD[3], BAD[4]])
    valid = write_pairs(tmp_path, "valid", good_pairs(900)[-20:])
    train, valid = in_directions(as_corpora(files), as_corpora(valid), [("de", "en")], both_ways=True)
    data = DataConfig(vocab_size=400, cleaning="script,numbers,ratio")
    prepared = prepare(tmp_path / "data", train, valid, data, lambda line: None, languages=("de", "en"))
    for report in prepared.corpora():
        dropped = {reason: each["count"] for reason, each in report["dropped"].items()}
        assert dropped == {"wrong script": 1, "different numbers": 1}


def test_garbled_text_that_is_repaired_is_not_refused(tmp_path):
    pairs = [pair for pair in good_pairs(300) if not pair[0].isascii()]
    garbled = [(source.encode().decode("latin-1"), target) for source, target in pairs]
    with pytest.raises(UserError, match="garbled"):
        run(tmp_path, garbled, "standard")
    prepared = run(tmp_path, garbled, "standard,encoding")
    assert prepared.report()["train"]["findings"] == []
    assert prepared.report()["train"]["repaired"]["text decoded with the wrong encoding"]["count"] == len(garbled)


def test_near_duplicates_are_found_across_blocks():
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(97, 123, 120))) for _ in range(300)]
    bands = band_hashes(texts, texts)
    together = SeenBands().near_duplicates(np.concatenate([bands, bands[:50], bands[:50]]))
    assert together.tolist() == [False] * 300 + [True] * 100
    seen = SeenBands()
    parts = [seen.near_duplicates(part) for part in (bands[:100], bands[50:200], bands)]
    assert [part.sum() for part in parts] == [0, 50, 200]
    none = np.zeros((5, bands.shape[1]), dtype=np.uint64)
    assert not seen.near_duplicates(none).any()
    assert len(seen.near_duplicates(none[:0])) == 0


def test_hostile_text_is_cleaned_and_listed_on_one_line_each(tmp_path):
    odd = [
        "a\nb\tc",
        "\ud800 x",
        "\u2028",
        "\x00\x85",
        "&" * 5000,
        "Ã" * 3000,
        "1" * 4000,
        "a " * 3000,
        "中" * 3000,
        "🙂" * 500,
    ]
    objects = [{"translation": {"de": text, "en": other}} for text in odd for other in (text, "a word", text[::-1])]
    good = [{"translation": {"de": source, "en": target}} for source, target in good_pairs(300)]
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in [*good, *objects]))
    valid = write_pairs(tmp_path, "valid", good_pairs(900)[-20:])
    data = DataConfig(vocab_size=400, cleaning="web", faults="warn")
    prepared = prepare(
        tmp_path / "data", [corpus(file)], [corpus(*valid)], data, lambda line: None, languages=("de", "en")
    )
    report = prepared.report()["train"]
    dropped = rows(prepared.dropped)
    assert report["pairs"] == len(good) + len(objects)
    assert report["kept"] == report["pairs"] - len(dropped) == len(open_store(prepared.train))
    assert all(None not in row and row["target"] is not None for row in dropped)
    assert all(row["repaired target"] is not None for row in rows(prepared.repaired))
