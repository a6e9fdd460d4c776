"""Encodings other than UTF-8 are read (UTF-16, UTF-32) or named; the oracle is the codec that wrote the file."""

from pathlib import Path

import pytest

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.encoding import guess_encoding, is_utf8
from allyouneed.data.files.lines import read_lines, read_text
from allyouneed.errors import UserError

TEXTS = {
    "ko": (
        "오늘은 날씨가 아주 좋습니다.\n"
        "나는 어제 친구와 함께 영화를 보았다.\n"
        "이 책은 정말 재미있어요.\n"
        "우리는 내일 학교에 가지 않는다.\n"
    ),
    "ja": (
        "今日はとても天気がいいです。\n"
        "私は昨日友達と映画を見ました。\n"
        "この本は本当に面白い。\n"
        "明日は学校に行きません。\n"
    ),
    "zh": ("今天的天气很好。\n我昨天和朋友一起看了电影。\n这本书真的很有意思。\n他们明天不去学校，因为是星期天。\n"),
    "zh-TW": ("今天的天氣很好。\n我昨天和朋友一起看了電影。\n這本書真的很有意思。\n他們明天不去學校，因為是星期天。\n"),
    "ru": ("Сегодня очень хорошая погода.\nВчера я смотрел фильм с другом.\nЭта книга действительно интересная.\n"),
    "uk": (
        "Сьогодні дуже гарна погода.\nВчора я дивився фільм із другом, його звати Їжак.\nЦя книжка справді цікава.\n"
    ),
    "el": ("Σήμερα ο καιρός είναι πολύ καλός.\nΧθες είδα μια ταινία με τον φίλο μου.\n"),
    "he": ("היום מזג האוויר טוב מאוד.\nאתמול ראיתי סרט עם החבר שלי.\n"),
    "ar": ("الطقس اليوم جميل جدا.\nشاهدت أمس فيلما مع صديقي في المدينة.\n"),
    "th": ("วันนี้อากาศดีมาก\nเมื่อวานฉันดูหนังกับเพื่อน\n"),
    "de": (
        "Heute ist das Wetter sehr schön.\n"
        "Die Bücher gehören ihm, sagte der Junge.\n"
        "Das große Mädchen läuft über die Straße.\n"
    ),
    "fr": ("Le temps est très beau à la montagne cet été.\nÇa a été un plaisir, mon frère.\n"),
    "es": ("¿Dónde está el niño? ¡Mañana será otro día!\nLa lección de español es difícil.\n"),
    "pl": ("Dziś jest bardzo ładna pogoda.\nWczoraj oglądałem film z moją przyjaciółką.\nTa książka jest świetna.\n"),
    "cs": (
        "Dnes je velmi hezké počasí.\nVčera jsem viděl film se svým přítelem.\nTahle kniha je opravdu zajímavá, řekl.\n"
    ),
    "tr": ("Bugün hava çok güzel.\nDün arkadaşımla sinemaya gittim.\nBu kitap gerçekten ilginç, diye düşündü.\n"),
    "hu": ("Ma nagyon szép az idő.\nTegnap megnéztem egy filmet a barátommal, és örültünk a hősöknek.\n"),
    "lt": ("Šiandien labai gražus oras.\nVakar žiūrėjau filmą su draugu, ėjau į miestą.\n"),
}
CASES = [
    ("ko", "cp949", "CP949"),
    ("ko", "euc_kr", "CP949"),
    ("ja", "shift_jis", "CP932"),
    ("ja", "euc_jp", "EUC-JP"),
    ("zh", "gb2312", "GB18030"),
    ("zh", "gb18030", "GB18030"),
    ("zh-TW", "big5", "BIG5-HKSCS"),
    ("ru", "koi8_r", "KOI8-"),
    ("ru", "cp1251", "CP1251"),
    ("ru", "iso8859_5", "ISO-8859-5"),
    ("ru", "cp866", "CP866"),
    ("uk", "koi8_u", "KOI8-U"),
    ("uk", "cp1251", "CP1251"),
    ("el", "cp1253", "CP1253"),
    ("he", "cp1255", "CP1255"),
    ("ar", "cp1256", "CP1256"),
    ("th", "cp874", "CP874"),
    ("de", "latin1", "CP1252"),
    ("de", "cp1252", "CP1252"),
    ("de", "mac_roman", "MACINTOSH"),
    ("de", "cp850", "CP850"),
    ("fr", "cp1252", "CP1252"),
    ("es", "cp1252", "CP1252"),
    ("pl", "cp1250", "CP1250"),
    ("pl", "iso8859_2", "ISO-8859-2"),
    ("cs", "cp1250", "CP1250"),
    ("hu", "cp1250", "CP1250"),
    ("tr", "cp1254", "CP1254"),
    ("lt", "cp1257", "CP1257"),
]


@pytest.mark.parametrize(("language", "codec", "expected"), CASES)
def test_the_encoding_is_named(tmp_path, language, codec, expected):
    path = tmp_path / "a b.txt"
    path.write_bytes(TEXTS[language].encode(codec))
    with pytest.raises(UserError) as caught:
        list(read_lines(path))
    message = str(caught.value)
    assert f"a b.txt:1: not UTF-8; probably {expected}" in message
    assert f"iconv -f {expected}" in message
    assert f"-t UTF-8 '{path}' > '{tmp_path}/a b.utf8.txt'" in message
    advised = message.partition("iconv -f ")[2].split()[0].replace("MACINTOSH", "mac_roman")
    assert TEXTS[language].encode(codec).decode(advised) == TEXTS[language]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("language", ["ko", "zh", "de", "ru"])
def test_utf_16_and_utf_32_are_read(tmp_path, codec, language):
    if "e" in codec and language in ("zh", "ko", "ru") and "16" in codec and codec != "utf-16":
        text = TEXTS[language].replace("\n", " 1 2 3\n")  # without a mark, zero bytes are the evidence
    else:
        text = TEXTS[language]
    (tmp_path / "a").write_bytes(text.replace("\n", "\r\n").encode(codec))
    assert list(read_text(tmp_path / "a")) == text.split("\n")[:-1]


@pytest.mark.parametrize(
    "text", ["A dog\0s\tEin Hund\nA man runs\tEin Mann\n", "Ein Müll\0eimer für den Hund, der fällt\n"]
)
def test_a_stray_zero_byte_is_not_utf_16(tmp_path, text):
    (tmp_path / "a").write_bytes(text.encode())
    assert list(read_text(tmp_path / "a")) == text.replace("\0", "").split("\n")[:-1]


def test_damaged_utf_16(tmp_path):
    (tmp_path / "a").write_bytes("one\ntwo\n".encode("utf-16")[:-1])
    with pytest.raises(UserError, match="a: damaged UTF-16 text"):
        list(read_lines(tmp_path / "a"))


@pytest.mark.parametrize(("codec", "name"), [("iso2022_jp", "ISO-2022-JP"), ("iso2022_kr", "ISO-2022-KR")])
def test_encodings_with_escape_sequences(tmp_path, codec, name):
    (tmp_path / "a").write_bytes(TEXTS["ja" if codec.endswith("jp") else "ko"].encode(codec))
    with pytest.raises(UserError, match=f"not UTF-8; probably {name}"):
        list(read_lines(tmp_path / "a"))


def test_no_guess_for_random_bytes():
    assert guess_encoding([bytes(range(128, 256)) for _ in range(10)]) is None
    assert not is_utf8(b"\xff")


def test_the_first_bad_line_of_a_translation_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n" * 20_000 + "für die schöne Müllerin\n".encode("latin1"))
    with pytest.raises(UserError, match=r"a\.txt:20001: not UTF-8; probably CP1252 \(German\)"):
        list(read_text(path))
    path.write_bytes("schön\n".encode() * 20_000 + b"b\xe4d\n")
    with pytest.raises(UserError, match=r"a\.txt:20001: not UTF-8, unlike the lines before it\. Correct the line"):
        list(read_text(path))


def test_a_few_bad_lines_are_no_other_encoding(tmp_path):
    (tmp_path / "s").write_bytes(("schön\n" * 30).encode() + b"b\xe4d\nb\xe4d\n")
    (tmp_path / "t").write_text("nice\n" * 32)
    assert count_pairs([tmp_path / "s", tmp_path / "t"]) == 32


def test_latin1_is_never_advised_for_korean(tmp_path):
    path = Path(tmp_path / "ko-en.tsv")
    lines = [f"{line}\tan English sentence" for line in TEXTS["ko"].splitlines() * 20]
    path.write_bytes("\n".join(lines).encode("cp949"))
    with pytest.raises(UserError, match=r"probably CP949 \(Korean\)"):
        count_pairs([path])
