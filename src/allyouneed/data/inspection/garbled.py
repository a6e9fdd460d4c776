"""Detection of text that was decoded with the wrong encoding, and of remains of markup.

UTF-8 read as a Western encoding has a typical form: a letter from Â to ô and one to three characters from the upper
half of the code page for each original character, as in `Ã¤`. A line counts only if all its characters beyond ASCII are
in such groups, so that a Portuguese `IRMÃ…` beside a correct `ç` is not garbled. For other encodings, the line is
encoded and decoded again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.findings import Finding, examples_of

_TOP = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"  # bytes 80 to BF in Latin-1 and in CP1252
_GROUP = re.compile(f"[\u00c2-\u00df][{_TOP}]|[\u00e0-\u00ef][{_TOP}]{{2}}|[\u00f0-\u00f4][{_TOP}]{{3}}")
_BEYOND_ASCII = re.compile("[\u0080-\uffff]")
_UPPER_HALF = re.compile("[\u00a1-\u00ff]{2}")
_LETTERS = re.compile(r"[^\W\d_]")
_MARKUP = re.compile(r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,6});|(?!^)</?[a-z][a-z0-9]*(?: [^<>]*)?/?>", re.IGNORECASE)
_REPLACEMENT = "\ufffd"
_FEWEST_READ = 4  # characters of a line that must make sense in the other encoding
# Encodings in which UTF-8 is often read by mistake, besides the Western ones.
_MISREAD = ("cp1251", "cp949", "gb18030", "shift_jis", "cp1250")
# Encodings that are often read as Latin-1 by mistake, with the blocks of their letters.
_LEGACY = {
    "cp949": "[가-힣]", "gb18030": "[一-鿿]", "shift_jis": "[ぁ-ヿ一-鿿]", "euc_jp": "[ぁ-ヿ一-鿿]",
    "cp1251": "[а-яА-ЯёЁ]", "koi8_r": "[а-яА-ЯёЁ]",
}  # fmt: skip
_LEGACY_OF = {"ko": ("cp949",), "zh": ("gb18030",), "ja": ("shift_jis", "euc_jp"), "ru": ("cp1251", "koi8_r")}


def garbled_findings(pairs: Sequence[RawPair], languages: Sequence[str] = ()) -> list[Finding]:
    """Report text in the wrong encoding, replacement characters and markup.

    Args:
        pairs: The pairs to examine.
        languages: Primary codes of the languages, which decide between encodings.
    """
    legacy = [encoding for language in languages for encoding in _LEGACY_OF.get(language, ())]
    found: dict[str, list[RawPair]] = {}
    for pair in pairs:
        if misread := is_misread(pair.source, legacy) or is_misread(pair.target, legacy):
            found.setdefault(misread, []).append(pair)
    remedy = "Decode the original file again with its true encoding."
    repair = f"{remedy} Or repair them: --set data.cleaning=standard,encoding."
    findings = [
        Finding(f"garbled characters ({fault})", len(affected), len(pairs), examples_of(affected), repair)
        for fault, affected in found.items()
    ]
    lost = _containing(pairs, lambda text: _REPLACEMENT in text)
    if lost:
        fault = "replacement characters (U+FFFD) in place of characters that were lost"
        findings.append(Finding(fault, len(lost), len(pairs), examples_of(lost), remedy))
    markup = [pair for pair in pairs if "&" in pair.source + pair.target or "<" in pair.source + pair.target]
    markup = [pair for pair in markup if _MARKUP.search(pair.source) or _MARKUP.search(pair.target)]
    if markup:
        fault = "HTML or XML markup"
        remedy = "If it is not part of the task: unescape entities and remove tags."
        findings.append(Finding(fault, len(markup), len(pairs), examples_of(markup), remedy, refused=False))
    return findings


def is_misread(text: str, legacy: Sequence[str] = ()) -> str | None:
    """Describe the wrong encoding in which a text was read; None if it seems to be right.

    Args:
        text: The text.
        legacy: Encodings of the language besides UTF-8.
    """
    if text.isascii():
        return None
    if _GROUP.search(text) and not _BEYOND_ASCII.search(_GROUP.sub("", text)):
        return "UTF-8 read as Latin-1 or CP1252"
    if _UPPER_HALF.search(text):
        return _misread_legacy(text, legacy)
    for encoding in _MISREAD if len(_BEYOND_ASCII.findall(text)) >= _FEWEST_READ else ():
        try:
            right = text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if len(right) <= len(text) - 2 and len(_LETTERS.findall(right)) >= _FEWEST_READ:
            return f"UTF-8 read as {encoding.upper()}"
    return None


def _misread_legacy(text: str, legacy: Sequence[str]) -> str | None:
    """Return the encoding in which a text of letters from the upper half of Latin-1 makes sense."""
    upper = len(re.findall("[\u00a1-\u00ff]", text))
    if upper < 2 * _FEWEST_READ or 2 * upper < len(text.replace(" ", "")):
        return None
    for encoding in legacy:
        try:
            right = text.encode("latin-1").decode(encoding)
        except UnicodeError:
            continue
        if 2 * len(re.findall(_LEGACY[encoding], right)) >= len(right.replace(" ", "")):
            return f"{encoding.upper().replace('_', '-')} read as Latin-1"
    return None


def _containing(pairs: Sequence[RawPair], test: Callable[[str], object]) -> list[RawPair]:
    return [pair for pair in pairs if test(pair.source) or test(pair.target)]
