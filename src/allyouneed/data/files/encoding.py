"""Encodings other than UTF-8: UTF-16 and UTF-32, which are read, and a guess of others, for messages.

The guess decodes lines in each candidate encoding and measures how many of the non-ASCII characters are those that are
frequent in a language written in it. Text in a wrong encoding consists of rare characters.
"""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from allyouneed.errors import UserError

MAX_BAD_SHARE = 0.1  # with a larger share of lines that are not UTF-8, the file has another encoding

_MARKS = {  # UTF-32 first, since its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
_ESCAPES = {
    b"\x1b$)C": ("ISO-2022-KR", "Korean"),
    b"\x1b$B": ("ISO-2022-JP", "Japanese"),
    b"\x1b$@": ("ISO-2022-JP", "Japanese"),
}
_MIN_SCORE = 0.2
_LAST_LATIN = "\u024f"
_ASCII_BESIDE = re.compile(r"[A-Za-z](?=[^\x00-\x7f])|(?<=[^\x00-\x7f])[A-Za-z]")
_MAX_EVIDENCE = 500  # lines
_NEUTRAL = frozenset("’‘“”„–—…«»°€\xa0§·、。，．「」『』（）！？：；　")
_KANA = "".join(map(chr, range(0x3041, 0x30FF)))

# Frequent non-ASCII letters of languages, in both cases where capitals begin sentences.
_LETTERS = {
    "ko": (
        "Korean",
        "이다는의에을가고하지를은한로사기도리인어나자시그아서대일있해라수것여니들부만보장"
        "제과정성원상국주우오게면중안적전동없말위신스생구내모무물비선소실용으와더요저까했"
        "거며세야습였된할때받았려잠네좋너난"
    ),
    "ja": ("Japanese", _KANA),
    "zh-Hans": (
        "Chinese",
        "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于"
        "着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还"
        "进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情"
    ),
    "zh-Hant": (
        "Chinese",
        "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於"
        "著下自之年過發後作裡用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還"
        "進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情"
    ),
    "ru": ("Russian", "оеаинтсрвлкдмпуыяь"),
    "uk": ("Ukrainian", "оаинвіетрсклдупмяьзї"),
    "bg": ("Bulgarian", "аоиетнсрвлдкпмзуъщ"),
    "el": ("Greek", "αοιετσνηυρπκμλςωγδήάίόέύθχώ"),
    "he": ("Hebrew", "יוהלאתרמבשנם"),
    "ar": ("Arabic", "اليمنوترهبدعفسكقحأة"),
    "fa": ("Persian", "ایندرهوتمبسشکلزآخپگچ"),
    "th": ("Thai", "านรอกเงมลยวดทสตะปบคหแจพชขใไโ่้ีัิืุูำ์็"),
    "vi": ("Vietnamese", "àáâãèéêìíòóôõùúăđơư\u0300\u0301\u0303\u0309\u0323"),
    "de": ("German", "äöüÄÖÜß"),
    "fr": ("French", "éèàêçâôùîïûœëÉÀÇÊ"),
    "es": ("Spanish", "áéíóúñ¿¡üÁÉÍÓÚÑ"),
    "pt": ("Portuguese", "ãçéáóõêíâúàôÃÉÁÓ"),
    "it": ("Italian", "èàùìòéÈÀ"),
    "sv": ("Swedish", "åäöÅÄÖé"),
    "da": ("Danish", "æøåÆØÅ"),
    "is": ("Icelandic", "ðáíéóþæöúýÞÁÍÓÖ"),
    "pl": ("Polish", "ąćęłńóśźżŁŚŻ"),
    "cs": ("Czech", "áčďéěíňóřšťúůýžČŘŠŽÚ"),
    "hu": ("Hungarian", "áéíóöőúüűÁÉÖ"),
    "hr": ("Croatian", "čćđšžČŠŽ"),
    "ro": ("Romanian", "ăâîşţșțŞŢÎ"),
    "tr": ("Turkish", "ığşçöüİŞÇÖÜâ"),
    "lt": ("Lithuanian", "ąčęėįšųūžŠŽČ"),
    "lv": ("Latvian", "āčēģīķļņšūžĀŠ"),
}  # fmt: skip

# iconv's name, Python's name, languages; of encodings with equal scores, the first is chosen.
_ENCODINGS = (
    ("CP949", "cp949", "ko"),
    ("CP932", "cp932", "ja"),
    ("EUC-JP", "euc_jp", "ja"),
    ("GB18030", "gb18030", "zh-Hans"),
    ("BIG5-HKSCS", "big5hkscs", "zh-Hant"),
    ("CP1252", "cp1252", "de fr es pt it sv da is"),
    ("CP1251", "cp1251", "ru uk bg"),
    ("KOI8-U", "koi8_u", "uk ru"),
    ("KOI8-R", "koi8_r", "ru"),
    ("ISO-8859-5", "iso8859_5", "ru bg"),
    ("CP866", "cp866", "ru"),
    ("CP1250", "cp1250", "pl cs hu hr ro"),
    ("ISO-8859-2", "iso8859_2", "pl cs hu hr ro"),
    ("ISO-8859-16", "iso8859_16", "ro"),
    ("CP1253", "cp1253", "el"),
    ("ISO-8859-7", "iso8859_7", "el"),
    ("CP1254", "cp1254", "tr"),
    ("CP1255", "cp1255", "he"),
    ("CP1256", "cp1256", "ar fa"),
    ("ISO-8859-6", "iso8859_6", "ar"),
    ("CP1257", "cp1257", "lt lv"),
    ("CP1258", "cp1258", "vi"),
    ("CP874", "cp874", "th"),
    ("MACINTOSH", "mac_roman", "de fr es pt it sv da"),
    ("CP850", "cp850", "de fr es pt it sv da"),
    ("CP852", "cp852", "pl cs hu hr ro"),
)


class Guess(NamedTuple):
    """A probable encoding: its name for iconv, and the language that the text seems to be in."""

    encoding: str
    language: str


def wide_encoding(head: bytes) -> str | None:
    """Return the codec of text in UTF-16 or UTF-32 by its byte-order mark or its zero bytes; None for other text.

    Args:
        head: The beginning of a file.
    """
    if mark := next((code for mark, code in _MARKS.items() if head.startswith(mark)), None):
        return mark
    if head.count(0) * 50 < len(head):
        return None
    if head.count(0) * 20 < len(head) and _is_text(head.replace(b"\0", b""), "utf-8"):  # stray zero bytes
        return None
    head = head[: len(head) // 4 * 4]
    zeros = [head[start::4].count(0) * 4 / max(1, len(head)) for start in range(4)]  # shares
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    candidates = {
        "UTF-32-LE": zeros[3] == 1 and zeros[2] > 0.9,
        "UTF-32-BE": zeros[0] == 1 and zeros[1] > 0.9,
        "UTF-16-LE": odd > 20 * even,
        "UTF-16-BE": even > 20 * odd,
    }
    return next((code for code, possible in candidates.items() if possible and _is_text(head, code)), None)


def _is_text(head: bytes, code: str) -> bool:
    text = codecs.getincrementaldecoder(code)("replace").decode(head)
    odd = sum(1 for c in text if c == "\ufffd" or (c < " " and c not in "\t\r\n"))
    return bool(text) and odd * 100 <= len(text)


def transcode(chunks: Iterable[bytes], code: str, name: Path, is_whole: bool = True) -> Iterator[bytes]:
    """Convert chunks of text in another encoding, such as UTF-16, to UTF-8.

    Args:
        chunks: The text.
        code: Its encoding.
        name: Name of the file, for messages.
        is_whole: Whether the chunks end where the text ends, and not within a character.

    Raises:
        LookupError: If Python does not know the encoding.
        UserError: If the data is not valid in this encoding.
    """
    decoder = codecs.getincrementaldecoder(code)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode("utf-8")
        if is_whole:
            yield decoder.decode(b"", final=True).encode("utf-8")
    except UnicodeError as error:
        raise UserError(f"{name}: damaged {code} text ({error}). Convert it to UTF-8 again from its source.") from error


def escape_encoding(head: bytes) -> Guess | None:
    """Return the 7-bit encoding that the escape sequences of a text belong to, or None."""
    return next((Guess(*guess) for escape, guess in _ESCAPES.items() if escape in head), None)


def guess_encoding(lines: Iterable[bytes]) -> Guess | None:
    """Guess the encoding of text from lines that are not UTF-8.

    Args:
        lines: The lines; at most 500 are read.

    Returns:
        The most probable encoding; None if no candidate gives usual text.
    """
    evidence = list(islice(lines, _MAX_EVIDENCE))
    best, best_score = None, _MIN_SCORE
    for encoding, codec, candidates in _ENCODINGS:
        text = _decoded(evidence, codec)
        unusual = [c for c in text if c > "\x7f" and c not in _NEUTRAL]
        if not unusual:
            continue
        for code in candidates.split():
            language, letters = _LETTERS[code]
            score = sum(map(letters.count, unusual)) / len(unusual)
            if letters[0] > _LAST_LATIN:  # such letters and ASCII letters are not in one word
                score -= len(_ASCII_BESIDE.findall(text)) / len(unusual)
            if score > best_score + 1e-9:
                best, best_score = Guess(encoding, language), score
    return best


def _decoded(lines: Sequence[bytes], codec: str) -> str:
    """Decode the lines that are valid in an encoding; nothing if more than a tenth are invalid."""
    decoded, invalid = [], 0
    for line in lines:
        try:
            decoded.append(line.decode(codec))
        except UnicodeDecodeError:
            invalid += 1
    return "\n".join(decoded) if invalid <= MAX_BAD_SHARE * len(lines) else ""


def advice(name: Path, guess: Guess | None) -> str:
    """Describe a guess and the command that converts the file.

    Returns:
        A clause and a sentence, for example "probably CP949 (Korean). Convert the file: iconv -f CP949 -t UTF-8 ...".
    """
    if guess is None:
        return "its encoding is unknown. Find it out, for example with `file`, and convert: iconv -f ENCODING -t UTF-8"
    file = shlex.quote(str(name))
    result = shlex.quote(str(name.with_name(f"{name.stem}.utf8{name.suffix}")))
    return (
        f"probably {guess.encoding} ({guess.language}). Convert the file: "
        f"iconv -f {guess.encoding} -t UTF-8 {file} > {result}"
    )


def is_utf8(line: bytes) -> bool:
    """Return whether a line is valid UTF-8."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def check_beginning(lines: Sequence[bytes], name: Path) -> None:
    """Check that the first lines of a file are UTF-8, except for a few.

    Raises:
        UserError: If more than a tenth of them, and more than one, are not. The message names the probable encoding.
    """
    bad = [(number, line) for number, line in enumerate(lines, start=1) if not is_utf8(line)]
    if len(bad) > max(1, MAX_BAD_SHARE * len(lines)):
        raise UserError(f"{name}:{bad[0][0]}: not UTF-8; {advice(name, guess_encoding(line for _, line in bad))}")
