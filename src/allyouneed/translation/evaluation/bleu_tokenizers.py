"""BLEU's tokenizer: the choice by target language, and a check that it fits the text.

BLEU counts n-grams of words. sacreBLEU's default tokenizer, 13a, divides text at spaces and ASCII punctuation. In a
script without spaces a whole sentence is then a single word: one wrong character makes the sentence wrong, and what
remains to match is punctuation and numbers. The tokenizer is part of the score's signature; scores with different
tokenizers are not comparable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from allyouneed.errors import UserError
from allyouneed.languages import primary, stored_language_code

AUTO, DEFAULT, TOKENIZED = "auto", "13a", "none"
_CHINESE = "zh yue wuu lzh gan hsn nan hak cjy"
_BY_MECAB = ("ja", "ko")
# Thai, Lao, Khmer, Burmese, Tibetan, Dzongkha and languages in the same scripts: no spaces between words.
_UNSPACED = "th tts sou nod lo km my shn ksw kjp mnw bo adx khg dz khb tdd blt ryu"
# Sentences end in punctuation that 13a does not divide from words: Arabic, Devanagari, Bengali, Ethiopic, Armenian, ...
_OWN_PUNCTUATION = (
    "ar arz ary apc acm fa ur ps pbt sd ug ckb ks dv hi bn ne as or pa sa mai bho awa mag hne sat mni am ti hy hyw"
)
NO_LANGUAGE = ("mul", "und")  # several languages, or an unknown one

_HAN = "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_KANA = "\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb"
_SOUTHEAST = (  # Thai and Lao, Tibetan, Burmese, Khmer, Tai scripts, Balinese, Javanese
    "\u0e01-\u0e4e\u0e80-\u0edf\u0f00-\u0fff\u1000-\u109f\u1780-\u17dd\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b4b"
    "\ua980-\ua9c0\ua9e0-\ua9fe\uaa60-\uaadf"
)
_PUNCTUATED = (  # Armenian, Arabic, Thaana, the scripts of India from Devanagari to Odia, Ethiopic
    "\u0531-\u0588\u0620-\u06d3\u0750-\u07b1\u0900-\u0963\u0966-\u0b7f\u1200-\u135a"
)
_DIVIDES = {"zh": _HAN, "ja-mecab": _HAN + _KANA, "ko-mecab": _HANGUL + _HAN}  # scripts, by tokenizer
_CHARACTERS = "char"
_WORDS = {DEFAULT: "", "intl": "", TOKENIZED: "", **_DIVIDES}
_WORDLESS = _HAN + _KANA + _HANGUL + _SOUTHEAST
_FITTING = {"zh": "zh", "ja": "ja-mecab or char", "ko": "ko-mecab or char", "th": "char", "hi": "intl", "en": "13a"}
_SHARE = 0.3  # of the letters, from which a script counts
_LONGEST_WORDS = 8  # mean letters of a word; Thai and Khmer words have about 5, their phrases more than 15


class TokenizerChoice(NamedTuple):
    """A tokenizer for BLEU.

    Attributes:
        name: sacreBLEU's name.
        remark: What is missing for a better tokenizer; None if nothing is.
    """

    name: str
    remark: str | None = None


def choose_tokenizer(name: str, language: str | None, references: Sequence[str] = ()) -> TokenizerChoice:
    """Choose the tokenizer for a target language.

    zh for Chinese; ja-mecab and ko-mecab for Japanese and Korean if they are installed, else char; char for scripts
    without spaces; intl where the punctuation is not ASCII's; 13a for other languages, as in sacreBLEU.

    Args:
        name: "auto", or a tokenizer, which is returned as it is.
        language: Code of the target language, for example "zh-Hant". Without one, or with a private code such as
            "x-dates", the script of the references decides.
        references: The references.
    """
    if name != AUTO:
        return TokenizerChoice(name)
    code = stored_language_code(language or "")
    spoken = primary(code)
    if not code or spoken in NO_LANGUAGE or spoken.startswith("x-"):
        code = spoken = _language_of("\n".join(references))
    if "-Latn" in code:  # pinyin and other romanisations
        return TokenizerChoice(DEFAULT)
    if spoken in _BY_MECAB:
        if _is_installed(f"{spoken}-mecab"):
            return TokenizerChoice(f"{spoken}-mecab")
        install = f"pip install 'sacrebleu[{spoken}]'"
        return TokenizerChoice(_CHARACTERS, f"BLEU counts characters: {spoken}-mecab is not installed ({install})")
    if spoken in _CHINESE.split():
        return TokenizerChoice("zh")
    if spoken in _UNSPACED.split():
        return TokenizerChoice(_CHARACTERS)
    return TokenizerChoice("intl" if spoken in _OWN_PUNCTUATION.split() else DEFAULT)


def for_text(tokenized: bool, tokenizer: str) -> str:
    """Return the tokenizer for text that may be tokenized already: "none" if it is.

    Raises:
        UserError: If a tokenizer is given for tokenized text.
    """
    if not tokenized:
        return tokenizer
    if tokenizer not in (AUTO, DEFAULT, TOKENIZED):
        raise UserError(f"tokenizer {tokenizer}: tokenized text is not tokenized again. Remove one of the two options.")
    return TOKENIZED


def bleu_metric(tokenize: str = DEFAULT, effective_order: bool = False) -> BLEU:
    """Make sacreBLEU's BLEU metric, without downloading anything.

    Args:
        tokenize: sacreBLEU's name of the tokenizer.
        effective_order: Whether n-gram orders without a match are left out, for single sentences.

    Raises:
        UserError: If the tokenizer is unknown or not installed.
    """
    if tokenize in SPM_MODELS:
        _check_model(tokenize)
    try:
        return BLEU(tokenize=tokenize, force=True, effective_order=effective_order)
    except KeyError as error:
        raise UserError(f"tokenizer {tokenize}: sacreBLEU has {', '.join(BLEU.TOKENIZERS)}.") from error
    except (RuntimeError, ImportError, ValueError, AssertionError) as error:
        raise UserError(f"tokenizer {tokenize}: {' '.join(str(error).split())}") from error


def unfit_remark(name: str, references: Iterable[str]) -> str | None:
    """Return why the scores of a tokenizer say little about a text, or None.

    Args:
        name: sacreBLEU's name of the tokenizer.
        references: The references.
    """
    text = "\n".join(references)
    letters = _count_letters(text)
    wordless = len(re.findall(f"[{_WORDLESS}]", text))
    if not letters:
        return None
    if name == _CHARACTERS and wordless < _SHARE * letters:
        return (
            "tokenizer char counts characters, but the references are written in words: such scores are high and not "
            "comparable with others. Use 13a or intl."
        )
    if name not in _WORDS:
        return None
    whole = f"[{_WORDLESS}]" if not _WORDS[name] else f"(?![{_WORDS[name]}])[{_WORDLESS}]"
    undivided = re.findall(f"(?:{whole})+", text)
    count = sum(map(len, undivided))
    if count < _SHARE * letters or (name == TOKENIZED and count < _LONGEST_WORDS * len(undivided)):
        return None
    return (
        f"tokenizer {name} does not divide this script into words, so that BLEU says little "
        f"({count:,} of {letters:,} letters of the references). Use {_FITTING[_language_of(text)]}."
    )


def ter_remark(references: Iterable[str]) -> str | None:
    """Return why TER, which counts edits of words between spaces, says little about a text, or None."""
    text = "\n".join(references)
    unspaced = f"[{_HAN}{_KANA}{_SOUTHEAST}]"
    words = [word for word in text.split() if re.search(unspaced, word)]
    count = len(re.findall(unspaced, text))
    if not words or count < _SHARE * _count_letters(text) or count < _LONGEST_WORDS * len(words):
        return None
    return "TER counts words between spaces, which this script does not have, so that it says little. Use chrf."


def _is_installed(name: str) -> bool:
    try:
        bleu_metric(tokenize=name)
    except UserError:
        return False
    return True


def _check_model(name: str) -> None:
    """Refuse a SentencePiece model that is not there, which sacreBLEU would download without a question."""
    url = SPM_MODELS[name]["url"]
    path = Path(SACREBLEU_DIR) / "models" / url.rpartition("/")[2]
    if not path.is_file():
        raise UserError(f"tokenizer {name}: {path} is missing. To download it: curl -L --create-dirs -o {path} {url}")


def _language_of(text: str) -> str:
    """Return a language whose tokenizer fits the script of most letters; "en" for others."""
    counts = {
        "zh": len(re.findall(f"[{_HAN}]", text)),
        "ja": len(re.findall(f"[{_KANA}]", text)) * 4,  # Japanese text is partly in Han characters
        "ko": len(re.findall(f"[{_HANGUL}]", text)),
        "th": len(re.findall(f"[{_SOUTHEAST}]", text)),
        "hi": len(re.findall(f"[{_PUNCTUATED}]", text)),
    }
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] >= _SHARE * _count_letters(text) and counts[best] else "en"


def _count_letters(text: str) -> int:
    return len(re.findall(rf"[^\W\d_]|[{_WORDLESS}]", text))
