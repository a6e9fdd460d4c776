"""Text that is parallel only by its number of lines, with one fault at a time, in several languages."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from allyouneed.config import DataConfig
from allyouneed.data.corpora import corpus
from allyouneed.data.files.formats import RawPair, read_pairs
from allyouneed.data.inspection.alignment import misaligned_stretches
from allyouneed.data.inspection.garbled import is_misread
from allyouneed.data.inspection.inspect_text import corpus_findings
from allyouneed.data.prepare import prepare
from allyouneed.data.synthetic import make_dates
from allyouneed.errors import UserError

EXCHANGE = "The columns seem to be swapped: --set data.columns=2,1."

# Words of a small grammar, in the same order as their English translations.
WORDS = {
    "en": (
        ["the dog", "the old woman", "my brother", "a tall man", "the teacher", "our neighbour", "the cat", "a boy"],
        ["sees", "paints", "buys", "forgets", "finds", "carries", "sells", "repairs"],
        ["the red house", "an apple", "the bridge", "two books", "the letter", "a bicycle", "the long table", "a lamp"],
        ["in the morning", "with great joy and without any help", "today", "near the river", "in winter", "again"],
    ),
    "de": (
        ["der Hund", "die alte Frau", "mein Bruder", "ein großer Mann", "der Lehrer", "unser Nachbar", "die Katze",
         "ein Junge"],
        ["sieht", "malt", "kauft", "vergisst", "findet", "trägt", "verkauft", "repariert"],
        ["das rote Haus", "einen Apfel", "die Brücke", "zwei Bücher", "den Brief", "ein Fahrrad", "den langen Tisch",
         "eine Lampe"],
        ["am Morgen", "mit großer Freude und ganz ohne Hilfe", "heute", "nahe am Fluss", "im Winter", "wieder"],
    ),
    "ko": (
        ["개가", "늙은 여자가", "내 형이", "키 큰 남자가", "선생님이", "우리 이웃이", "고양이가", "아이가"],
        ["본다", "그린다", "산다", "잊는다", "찾는다", "나른다", "판다", "고친다"],
        ["빨간 집을", "사과를", "다리를", "책 두 권을", "편지를", "자전거를", "긴 탁자를", "등을"],
        ["아침에", "아주 기쁘게 아무 도움도 없이", "오늘", "강 가까이에서", "겨울에", "다시"],
    ),
    "zh": (
        ["狗", "老妇人", "我的兄弟", "高个子男人", "老师", "我们的邻居", "猫", "男孩"],
        ["看见", "画", "买", "忘记", "找到", "搬运", "卖", "修理"],
        ["红房子", "苹果", "桥", "两本书", "信", "自行车", "长桌子", "灯"],
        ["在早上", "非常高兴而没有任何帮助", "今天", "在河边", "在冬天", "又"],
    ),
}  # fmt: skip


def sentences(source: str, target: str, count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Return random sentences of both languages; one in six has two clauses, so that lengths differ."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        clauses = [[rng.randrange(len(part)) for part in WORDS["en"]] for _ in range(rng.choice((1, 1, 1, 1, 2, 3)))]
        sides = [
            ", ".join(" ".join(part[i] for part, i in zip(WORDS[code], clause, strict=True)) for clause in clauses)
            for code in (source, target)
        ]
        pairs.append((f"{sides[0]}.", f"{sides[1]}."))
    return pairs


def numbered(pairs: list[tuple[str, str]]) -> list[RawPair]:
    return [RawPair(line, *pair) for line, pair in enumerate(pairs, start=1)]


def shifted(pairs: list[tuple[str, str]], at: int) -> list[tuple[str, str]]:
    """Remove the target line of index `at`, and add a line at the end."""
    sources, targets = zip(*pairs, strict=True)
    return list(zip(sources, [*targets[:at], *targets[at + 1 :], "the end."], strict=True))


def findings(pairs: list[tuple[str, str]], source: str, target: str = "en") -> list[str]:
    return [finding.summary() for finding in corpus_findings(numbered(pairs), (source, target), EXCHANGE)]


LANGUAGES = ["de", "ko", "zh"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [30, 100, 300, 3000])
def test_clean_text_has_no_findings(language, count):
    assert findings(sentences(language, "en", count), language) == []


def test_other_tasks_have_no_findings():
    """Dates, spellings with their sounds, and reversed letters are no languages, but parallel."""
    assert findings(list(make_dates(train_pairs=400).train), "ko") == []
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefghiklmnoprstuvw", k=rng.randint(2, 12))) for _ in range(1500)]
    sounds = [(word, " ".join(f"{letter.upper()}H" for letter in word if letter != "h")) for word in words]
    assert findings(sounds, "en", "x-sounds") == []
    words = [word for word in words if word != word[::-1]]
    assert findings([(" ".join(word), " ".join(reversed(word))) for word in words], "x-a", "x-b") == []
    assert findings([(word, word.replace("ei", "ie")) for word in words], "en")[1:] == []
    sums = [(f"{a} + {b}", str(a + b)) for a in range(60) for b in range(60)]
    assert not any("translation is" in found for found in findings(sums, "x-a", "x-b"))
    digits = [" ".join(str(rng.randrange(10**8, 10**9))) for _ in range(600)]
    assert not any("in common" in found for found in findings([(each, each[::-1]) for each in digits], "x-a", "x-b"))
    tagged = [(f"<BT> {source}", target) for source, target in sentences("de", "en", 200)]
    assert findings(tagged, "de") == []


@pytest.mark.parametrize("expected", ["ja", "zh", "de", "kr"])
def test_another_script_than_that_of_the_language_is_found(expected):
    [found] = [each for each in findings(sentences("ko", "en", 300), expected) if "script" in each]
    assert found.startswith(f"300 of 300 pairs: the source is not in the script of {expected}")


def test_languages_in_several_scripts_may_be_in_each():
    serbian = [(f"{source} č", target) for source, target in sentences("de", "en", 300)]
    assert not any("script" in each or "both sides" in each for each in findings(serbian, "sr"))
    assert any("script of sr-Cyrl" in each or "both sides" in each for each in findings(serbian, "sr-Cyrl"))
    assert findings(sentences("ko", "zh", 300), "ko", "zh") == findings(sentences("zh", "ko", 300), "zh", "ko") == []


def test_dialogues_and_labels_are_not_refused():
    lines = [target for _, target in sentences("de", "en", 300)]
    [turns] = corpus_findings(numbered(list(itertools.pairwise(lines))), ("en", "en"), EXCHANGE)
    assert turns.fault == "the target is the source of a neighbouring line, as in a dialogue"
    assert turns.count >= 298
    assert not turns.refused
    labels = [(line, "neutral" if number % 4 else "good") for number, line in enumerate(lines)]
    assert not any(finding.refused for finding in corpus_findings(numbered(labels), ("en", "x-label"), EXCHANGE))
    constant = [(line, "neutral" if number % 20 else "good") for number, line in enumerate(lines)]
    assert any(finding.refused for finding in corpus_findings(numbered(constant), ("en", "x-label"), EXCHANGE))


def test_a_shift_in_text_that_is_sorted_by_length_is_found():
    """Neighbours of equal length resemble each other."""
    pairs = sorted(sentences("zh", "en", 3000), key=lambda pair: len(pair[1]))
    assert misaligned_stretches(numbered(pairs)) == []
    [stretch] = misaligned_stretches(numbered(shifted(pairs, 600)))
    assert stretch.shift == -1
    assert abs(stretch.pairs[0].line - 601) <= 5


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("count", "at"), [(300, 150), (3000, 1700), (3000, 40)])
def test_a_missing_line_is_found(language, count, at):
    pairs = numbered(shifted(sentences(language, "en", count), at))
    [stretch] = misaligned_stretches(pairs)
    assert stretch.shift == -1
    assert abs(stretch.pairs[0].line - (at + 1)) <= 3
    assert stretch.pairs[-1].line == count
    [finding] = corpus_findings(pairs, (language, "en"), EXCHANGE)
    line = f"{stretch.pairs[0].line:,}"
    assert finding.fault == f"from line {line} on, the translation is one line above"
    assert finding.is_most == (at < count / 2)


def test_a_shift_that_ends_is_found_with_both_lines():
    pairs = sentences("de", "en", 1000)
    sources, targets = map(list, zip(*pairs, strict=True))
    targets.insert(300, "an additional line is here.")
    del targets[700]
    [stretch] = misaligned_stretches(numbered(list(zip(sources, targets, strict=True))))
    assert stretch.shift == 1
    assert abs(stretch.pairs[0].line - 301) <= 3
    assert abs(stretch.pairs[-1].line - 700) <= 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_unrelated_text_is_found(language):
    sources, targets = map(list, zip(*sentences(language, "en", 1500), strict=True))
    random.Random(2).shuffle(targets)
    [found] = findings(list(zip(sources, targets, strict=True)), language)
    assert found.startswith("1,500 of 1,500 pairs: source and target have nothing in common (line 1, 2, 3, ...)")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_swapped_sides_are_found(language, share):
    rng = random.Random(4)
    swaps = [rng.random() < share for _ in range(1000)]
    pairs = sentences(language, "en", 1000)
    mixed = [pair[::-1] if swap else pair for pair, swap in zip(pairs, swaps, strict=True)]
    [finding] = corpus_findings(numbered(mixed), (language, "en"), EXCHANGE)
    assert finding.fault == "source and target are swapped"
    assert abs(finding.count - sum(swaps)) <= 0.1 * sum(swaps) + 1
    assert finding.examples[0]["line"] == swaps.index(True) + 1
    assert finding.remedy == (EXCHANGE if share == 1 else "Exchange the sides of these lines.")


@pytest.mark.parametrize("language", LANGUAGES)
def test_sides_swapped_in_a_pattern_are_not_a_shift(language):
    pairs = sentences(language, "en", 600)
    mixed = [pair if line % 3 else pair[::-1] for line, pair in enumerate(pairs)]
    assert findings(mixed, language) == ["200 of 600 pairs: source and target are swapped (line 1, 4, 7, ...)"]


def test_copies_and_untranslated_lines_are_found():
    pairs = sentences("ko", "en", 200)
    copied = [(source, source) if line % 10 == 0 else (source, target) for line, (source, target) in enumerate(pairs)]
    assert findings(copied, "ko") == ["20 of 200 pairs: source and target are equal (line 1, 11, 21, ...)"]
    others = sentences("ko", "en", 200, seed=9)
    mixed = [(source, others[line][0]) if line % 10 == 0 else (source, target)
             for line, (source, target) in enumerate(pairs)]  # fmt: skip
    assert findings(mixed, "ko") == [
        "20 of 200 pairs: both sides are in the script of ko (Korean) (line 1, 11, 21, ...)"
    ]
    assert findings(pairs, "ru")[-1].startswith("200 of 200 pairs: the source is not in the script of ru (Russian)")
    assert findings(sentences("de", "en", 200), "nl") == [
        "200 of 200 pairs: the source seems to be in de (German), not nl (Dutch) (line 1, 2, 3, ...)"
    ]


@pytest.mark.parametrize(
    ("text", "encoding", "read_as"),
    [
        ("Ein Mädchen läuft über die Straße.", "utf-8", "cp1252"),
        ("Le garçon mange à la crêperie.", "utf-8", "latin-1"),
        ("It’s a café – really.", "utf-8", "cp1252"),
        ("안녕하세요, 여러분", "utf-8", "latin-1"),
        ("안녕하세요, 여러분", "cp949", "latin-1"),
        ("今天天气很好", "gb18030", "latin-1"),
        ("Привет, как дела", "cp1251", "latin-1"),
        ("Привет, как дела", "utf-8", "cp1251"),
    ],
)
def test_misread_text_is_recognised(text, encoding, read_as):
    legacy = ("cp949", "gb18030", "cp1251")
    assert is_misread(text, legacy) is None
    assert "read as" in is_misread(text.encode(encoding).decode(read_as), legacy)


@pytest.mark.parametrize(
    "text",
    ["„MENÜ“ ist schön", "À «Â»", "São João não é pão", "Ærøskøbing Å", "ÄÖÜ", "Tiếng Việt Ở Đà Nẵng", "ÉÈ"],
)
def test_correct_text_is_not_misread(text):
    assert is_misread(text, ("cp949", "gb18030", "cp1251", "koi8_r")) is None


def test_garbled_and_marked_up_lines_are_counted():
    pairs = sentences("de", "en", 200)
    garbled = [(source.encode().decode("cp1252", "replace"), target) for source, target in pairs]
    [found] = findings(garbled, "de")
    count = sum(not source.isascii() for source, _ in pairs)
    assert found.startswith(f"{count} of 200 pairs: garbled characters (UTF-8 read as Latin-1 or CP1252)")
    pairs[3], pairs[7] = ("der Hund &amp; die Katze.", "the dog &amp; the cat."), ("<b>heute</b>", "<b>today</b>")
    pairs[9] = ("die alte Fra\ufffd.", "the old woman.")
    assert findings(pairs, "de") == [
        "1 of 200 pairs: replacement characters (U+FFFD) in place of characters that were lost (line 10)",
        "2 of 200 pairs: HTML or XML markup (line 4, 8)",
    ]


def test_sides_that_do_not_vary_are_found():
    pairs = sentences("ko", "en", 300)
    same_target = [(source, "the dog sees the red house.") for source, _ in pairs]
    assert any("the target is the same, 'the dog sees" in found for found in findings(same_target, "ko"))
    same_source = [("개가 집을 본다.", target) for _, target in pairs]
    assert any("the source is the same" in found for found in findings(same_source, "ko"))
    few = [(source, ("good", "bad", "neither")[line % 3]) for line, (source, _) in enumerate(pairs)]
    assert any("there are 3 different targets" in found for found in findings(few, "ko"))
    numbers = [(source, target) if line % 10 else ("12 / 7", "12 / 7 = " + str(line)) for line, (source, target) in
               enumerate(pairs)]  # fmt: skip
    assert any(found.startswith("30 of 300 pairs: no letters on either side") for found in findings(numbers, "ko"))


def write(folder: Path, name: str, pairs: list[tuple[str, str]]) -> Path:
    path = folder / name
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


def prepared(folder: Path, train: Path, valid: Path, languages=("ko", "en"), **settings):
    data = DataConfig(vocab_size=400, **settings)
    name = "-".join(f"{key}-{value}" for key, value in settings.items()) or "data"
    return prepare(folder / name, [corpus(train)], [corpus(valid)], data, lambda line: None, languages=languages)


def test_validation_pairs_in_the_training_text(tmp_path):
    pairs = list(dict.fromkeys(sentences("ko", "en", 400)))
    train, valid = write(tmp_path, "train.tsv", pairs), write(tmp_path, "valid.tsv", pairs[:50])
    with pytest.raises(UserError) as raised:
        prepared(tmp_path, train, valid)
    assert "valid.tsv: 50 of 50 pairs: also in the training text (line 1, 2, 3, ...)." in str(raised.value)
    assert "--set data.drop_overlap=true. To train anyway: --set data.faults=warn" in str(raised.value)
    dropped = prepared(tmp_path, train, valid, drop_overlap=True).report()
    assert dropped["train"]["dropped"]["in the validation text"]["count"] == 50
    assert dropped["valid"]["findings"] == []
    data = prepared(tmp_path, train, valid, faults="warn")
    [finding] = data.report()["valid"]["findings"]
    assert (finding["count"], finding["examples"][0]["line"]) == (50, 1)
    assert any("warning: 50 of 50 pairs: also in the training text" in line for line in data.report_lines())


def test_validation_pairs_that_are_nearly_equal_or_equal_on_one_side(tmp_path):
    pairs = list(dict.fromkeys(sentences("ko", "en", 400)))
    near = [(source.rstrip("."), target.upper()) for source, target in pairs[:20]]
    half = [(source, f"{target[:-1]}, then.") for source, target in pairs[20:50]]
    fresh = [(f"{source[:-1]} 그리고.", f"{target[:-1]} and so on.") for source, target in pairs[50:60]]
    report = prepared(
        tmp_path, write(tmp_path, "t.tsv", pairs), write(tmp_path, "v.tsv", [*near, *half, *fresh])
    ).report()
    faults = [(finding["fault"], finding["count"]) for finding in report["valid"]["findings"]]
    assert faults == [("also in the training text", 20), ("the source is also in the training text", 30)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: [pair[::-1] for pair in pairs], "swapped.*--set data.columns=2,1"),
        (lambda pairs: shifted(pairs, 30), "of 600 pairs: from line 3.* on, the translation is one line above"),
        (lambda pairs: [(source, source) for source, _ in pairs], "600 of 600 pairs: source and target are equal"),
    ],
)
def test_a_corpus_that_is_mostly_at_fault_is_refused(tmp_path, change, message):
    train = write(tmp_path, "train.tsv", change(sentences("ko", "en", 600)))
    valid = write(tmp_path, "valid.tsv", sentences("ko", "en", 40, seed=8))
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, train, valid)
    assert prepared(tmp_path, train, valid, faults="warn").report()["train"]["findings"]


def test_real_corpora_are_clean_and_their_shift_is_found(multi30k):
    train = [multi30k / f"val.{side}.gz" for side in ("de", "en")]
    pairs = [(pair.source, pair.target) for pair in read_pairs(train)]
    assert findings(pairs, "de") == []
    [stretch] = misaligned_stretches(numbered(shifted(pairs, 507)))
    assert abs(stretch.pairs[0].line - 508) <= 3
    train = [multi30k / f"train.{side}.gz" for side in ("de", "en")]
    pairs = [(pair.source, pair.target) for pair in read_pairs(train)]
    [stretch] = misaligned_stretches(numbered(shifted(pairs, 14500)))
    assert abs(stretch.pairs[0].line - 14501) <= 3
