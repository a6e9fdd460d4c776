"""Choice of BLEU's tokenizer by target language, and the warnings where it does not fit the text."""

from __future__ import annotations

import random
from typing import get_args

import pytest
import sacrebleu.metrics.bleu
from sacrebleu.tokenizers import tokenizer_spm

import allyouneed
from allyouneed import UserError
from allyouneed.config import TrainingConfig
from allyouneed.translation.evaluation import bleu_tokenizers
from allyouneed.translation.evaluation.bleu_tokenizers import bleu_metric, choose_tokenizer, ter_remark, unfit_remark
from allyouneed.translation.evaluation.metrics import corpus_scores

HAN = "的一是了我不在人有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心"
THAI = "กขคงจชซดตถทนบปผพฟภมยรลวสหอ"
WORDS = "the small dog runs over a green field and two men talk about it under old trees"


def chinese(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(HAN, k=rng.randint(12, 30))) + "。" for _ in range(count)]


def with_wrong_characters(sentences: list[str], every: int) -> list[str]:
    rng = random.Random(2)
    return ["".join(rng.choice(HAN) if rng.random() < 1 / every else char for char in text) for text in sentences]


def thai(count: int, seed: int) -> list[str]:
    """Sentences without spaces between words, each with the punctuation and the number of its line."""
    rng = random.Random(seed)
    return [f'{line}: "{_thai(rng)}", ({_thai(rng)}) 19:{line % 40}!' for line in range(count)]


def _thai(rng: random.Random) -> str:
    return "".join(rng.choices(THAI, k=rng.randint(10, 25)))


def without_mecab(monkeypatch):
    monkeypatch.setattr(bleu_tokenizers, "_is_installed", lambda name: False)


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *(("zh", "zh"), ("zh-Hant", "zh"), ("zh_CN", "zh"), ("zho_Hans", "zh"), ("yue", "zh"), ("ZH", "zh")),
        *(("Chinese", "zh"), ("zh-yue", "zh"), ("태국어", "char")),
        *(("th", "char"), ("lo", "char"), ("km", "char"), ("my", "char"), ("bo", "char"), ("dz", "char")),
        *(("tha_Thai", "char"), ("khm_Khmr", "char"), ("shn", "char")),
        *(("de", "13a"), ("en", "13a"), ("ru", "13a"), ("vi", "13a"), ("he", "13a"), ("aa", "13a"), ("zh-Latn", "13a")),
        *(("hi", "intl"), ("ar", "intl"), ("fa", "intl"), ("am", "intl"), ("hy", "intl"), ("arb_Arab", "intl")),
    ],
)
def test_the_tokenizer_follows_the_language(language, name):
    assert choose_tokenizer("auto", language) == (name, None)
    assert choose_tokenizer("flores200", language) == ("flores200", None)


def test_the_script_decides_where_there_is_no_language():
    for language in (None, "mul", "und", "x-dates", "x-th"):
        assert choose_tokenizer("auto", language, chinese(2)).name == "zh"
        assert choose_tokenizer("auto", language, thai(2, 1)).name == "char"
        assert choose_tokenizer("auto", language, ["वह घर गया।"]).name == "intl"
        assert choose_tokenizer("auto", language, ["ذهب إلى البيت."]).name == "intl"
        assert choose_tokenizer("auto", language, [WORDS]).name == "13a"
        assert choose_tokenizer("auto", language).name == "13a"


def test_japanese_and_korean_are_divided_into_words_if_mecab_is_installed(monkeypatch):
    without_mecab(monkeypatch)
    for language, extra in (("ja", "ja"), ("ko", "ko"), ("jpn_Jpan", "ja"), ("kor_Hang", "ko"), ("ko-KR", "ko")):
        name, remark = choose_tokenizer("auto", language)
        assert (name, f"pip install 'sacrebleu[{extra}]'" in remark) == ("char", True)
    monkeypatch.setattr(bleu_tokenizers, "_is_installed", lambda name: True)
    assert choose_tokenizer("auto", "ja") == ("ja-mecab", None)
    assert choose_tokenizer("auto", "ko") == ("ko-mecab", None)


def test_chinese_with_wrong_characters_is_scored_by_characters():
    references = chinese(300)
    translations = with_wrong_characters(references, 12)
    by_spaces, by_characters = (corpus_scores(translations, references, tokenize=name) for name in ("13a", "zh"))
    assert by_spaces.bleu < 20
    assert 70 < by_characters.bleu < 90
    assert "does not divide" in unfit_remark("13a", references)
    assert "Use zh" in unfit_remark("intl", references)
    assert unfit_remark("zh", references) is None
    assert unfit_remark("char", references) is None


def test_nonsense_in_thai_matches_only_in_punctuation():
    references, nonsense = thai(100, seed=1), thai(100, seed=2)
    by_spaces, by_characters = (corpus_scores(nonsense, references, tokenize=name) for name in ("13a", "char"))
    assert by_spaces.bleu > 20
    assert by_characters.bleu < by_spaces.bleu / 2
    for name in ("13a", "intl", "none", "zh", "ja-mecab"):
        assert "Use char" in unfit_remark(name, references)
    assert unfit_remark("char", references) is None


def test_the_remark_is_about_the_script_and_not_the_language():
    japanese = ["これは小さな犬です。", "カタカナとひらがなと漢字"]
    korean = ["작은 개가 들판을 달린다.", "두 사람이 이야기한다."]
    assert "ja-mecab or char" in unfit_remark("13a", japanese)
    assert "ja-mecab or char" in unfit_remark("zh", japanese)
    assert "ko-mecab or char" in unfit_remark("13a", korean)
    assert unfit_remark("ja-mecab", japanese) is None
    assert unfit_remark("ko-mecab", korean) is None
    assert "high and not comparable" in unfit_remark("char", [WORDS])
    for name in ("13a", "intl", "none", "zh"):
        assert unfit_remark(name, [WORDS, "Müller und Söhne", "Привет, мир", "2 + 2 = 4 東京"]) is None
    assert unfit_remark("13a", ["", "1 2 3", "..."]) is None
    assert unfit_remark("flores200", japanese) is None


def test_text_that_is_tokenized_already_fits():
    segmented = ["今天 天气 很 好 。", "我们 去 公园 散步 。"]
    assert unfit_remark("none", segmented) is None
    assert "does not divide" in unfit_remark("none", ["今天天气很好我们去公园散步。"] * 3)


def test_an_unavailable_tokenizer_is_reported_in_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"tokenizer no: sacreBLEU has .*13a"):
        bleu_metric(tokenize="no")
    for error in (RuntimeError("install\n\n  what it needs"), AssertionError("install what it needs")):

        def missing(error=error, **settings):
            raise error

        monkeypatch.setattr(bleu_tokenizers, "BLEU", missing)
        with pytest.raises(UserError, match=r"tokenizer ko-mecab: install what it needs$"):
            bleu_metric(tokenize="ko-mecab")


def test_models_of_tokenizers_are_not_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(bleu_tokenizers, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(tokenizer_spm, "download_file", lambda *arguments: pytest.fail("a download"))
    for name in ("flores101", "flores200", "spBLEU-1K", "spm"):
        with pytest.raises(UserError, match=rf"tokenizer {name}: .* is missing. To download it: curl -L "):
            bleu_metric(tokenize=name)


def test_the_setting_offers_every_tokenizer_of_sacrebleu():
    offered = set(get_args(TrainingConfig.model_fields["bleu_tokenizer"].annotation))
    assert offered == {"auto", *sacrebleu.metrics.bleu.BLEU.TOKENIZERS} - {"spm"}  # a former name of flores101


def test_evaluation_follows_the_target_language(toy_run, tmp_path):
    translator = allyouneed.Translator.load(toy_run)
    test = tmp_path / "test.tsv"
    test.write_text("".join(f"a b c\t{text}\n" for text in chinese(3)), encoding="utf-8")
    told: list[str] = []
    assert "tok:13a" in allyouneed.evaluate(translator, test, report=told.append).bleu_signature
    assert sum("does not divide" in line for line in told) == 1
    translator.bundle.languages = ("aa", "zh")
    told.clear()
    assert "tok:zh" in allyouneed.evaluate(translator, test, report=told.append).bleu_signature
    assert told == []
    assert "tok:13a" in allyouneed.evaluate(translator, test, tokenizer="13a").bleu_signature
    assert "tok:none" in allyouneed.evaluate(translator, test, tokenizer="none").bleu_signature


@pytest.mark.parametrize(
    ("reference", "is_unfit"),
    [
        ("在耶路撒冷的使徒听见撒玛利亚居民领受了神的道。", True),
        ("เขาพูดว่าเขากำลังตามหาพี่น้องของเขา", True),
        ("在 耶路撒冷 的 使徒 听见 了", False),  # tokenized
        ("사도들이 말씀을 받았다 함을 듣고", False),
        ("He said 你好 to everyone here.", False),
        ("", False),
    ],
)
def test_ter_is_remarked_for_scripts_without_spaces(reference, is_unfit):
    assert (ter_remark([reference]) is not None) == is_unfit
