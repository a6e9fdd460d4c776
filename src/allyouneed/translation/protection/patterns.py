"""Regular expressions of text that must not be translated: placeholders, tags, addresses, code, emoji.

Every expression takes linear time: it begins with a rare character or at the beginning of a run of characters, and what
repeats is bounded or possessive. Letters of scripts without spaces (Chinese, Japanese, Korean) do not belong to names,
so that text directly next to an address is not part of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LONGEST = 2000  # characters of an address; longer ones are cut off, which bounds the time
_LETTER = "A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0300-\u10ff\u1200-\u1fff"
_W = f"0-9{_LETTER}"  # characters of a word, within brackets
_WORD = rf"[{_LETTER}][{_W}]{{0,99}}+"


class Pattern(NamedTuple):
    """A kind of text to keep, and its expression."""

    kind: str
    expression: re.Pattern[str]


def _compile(kind: str, *alternatives: str) -> Pattern:
    return Pattern(kind, re.compile("|".join(alternatives)))


# Formats of C (%s, %1$s, %-5.2f, %%), Go (%+v, %[1]d), Python (%(name)s), Objective-C (%@, %#@name@), PHP (%'.10d), Qt
# (%1, %n), Ruby (%<name>s), Windows (%1!s!) and Symfony (%name%), dates (%Y-%m-%d). The flag " " needs a width (% 5d):
# "100 % sure" is ordinary text, as is "100%sure".
_NUMBER = r"(?:\*(?:\d{1,3}\$)?|\d{1,4})?"
_WIDTH = rf"(?:\d{{1,3}}\$)?(?:'[^\sA-Za-z\d%])?[-+0#,']{{0,5}}{_NUMBER}(?:\.{_NUMBER})?"
_SIZE = r"(?:hh|h|ll|l|L|q|j|z|t|I64|I32)?"
_UNITS = "px|pt|em|rem|ms|s|min|sec|h|m|d|w|y|x|k|th|st|nd|rd|kb|mb|gb|mm|cm|km|g|kg"
_PRINTF = (
    r"%%",
    rf"%(?:\d{{1,3}}\$)?#@[{_W}]{{1,100}}+@",
    r"%(?:\d{1,3}\$)?\([^()\s]{1,100}+\)[-+0#,']{0,5}\d{0,4}(?:\.\d{1,4})?[A-Za-z]",
    r"%<[\w.-]{1,100}+>[-+0#,']{0,5}\d{0,4}(?:\.\d{1,4})?[A-Za-z]",
    rf"(?<![{_W}%])%(?:[{_LETTER}][{_W}]{{1,99}}+|\d{{1,2}})%(?![{_W}%(<{{])",
    rf"(?<!\d)%{_WIDTH}{_SIZE}(?:[s@]|[dufxX](?![a-z])|d(?=(?:{_UNITS})(?![a-z]))|[iabceEgGoFACSpqrTUvn](?![A-Za-z]))",
    rf"(?<!\d)(?<!\d\s)% \d{{1,3}}(?:\.\d{{1,3}})?{_SIZE}[dufgeGExX](?![{_W}])",
    rf"(?<![{_W}%])%L?\d{{1,2}}(?:![^!\s]{{1,9}}!|(?![{_W}$%]|\.\d))",
    rf"%\[\d{{1,2}}\][-+0#]{{0,3}}\d{{0,4}}(?:\.\d{{0,4}})?[A-Za-z](?![{_W}])",
    rf"%[-0_^#EO:+]{{0,2}}[A-Za-z@](?![{_W}%])",
)
# Variables of shells, make, PHP and Swift; references to other messages of i18next ($t(key)) and Vue (@:key); Laravel's
# attributes (:name); quoted braces of java.text.MessageFormat ('{').
_VARIABLES = (
    r"\$\([\w.-]{1,100}+\)",
    r"\$t\([^()\n]{1,300}+\)",
    rf"(?<![{_W}$])\${_WORD}(?:(?:\.|->){_WORD}){{0,9}}+",
    r"\\\([A-Za-z_][\w.]{0,100}+\)",
    rf"(?<![{_W}])@(?:\.[a-z]{{1,20}})?:(?:\([\w.-]{{1,100}}+\)|\{{[^{{}}\n]{{1,100}}+\}}|{_WORD}(?:[.-]{_WORD}){{0,9}}+)",
    rf"(?<![^\s\"'(\[“‘„«]):[a-z][a-z_]{{2,40}}+(?![{_W}:/=-])",
    r"'[{}]'",
    rf"(?<![{_W}@#])(?:@@{_WORD}@@|\#\#{_WORD}\#\#)(?![{_W}@#])",
)
# ERB and ASP, PHP and processing instructions, Template Toolkit, Polymer.
_TEMPLATES = (
    r"<%(?:[^%<]|%(?!>)|<(?!%)){0,500}+%>",
    r"<\?(?:[^?<]|\?(?!>)|<(?!\?)){0,500}+\?>",
    r"\[%[^\[\]%]{0,500}+%\]",
    r"\[\[[^\[\]\n]{1,100}+\]\]",
)
_ENTITIES = (
    r"&lt;/?[A-Za-z][\w:-]{0,40}(?:\s(?:[^<>&]|&(?:quot|apos|amp|#\d{1,5});){0,300}+)?/?&gt;",  # an escaped tag
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});",
)

_VALUE = r"""(?:"[^"<]{0,1000}+"|'[^'<]{0,1000}+'|[^\s"'=<>`]{1,1000}+)"""
_BARE = "async|autofocus|checked|controls|defer|disabled|hidden|loop|multiple|muted|open|readonly|required|selected"
_ATTRIBUTE = rf"\s{{1,20}}+(?:[\w:@.-]{{1,100}}+\s{{0,20}}+=\s{{0,20}}+{_VALUE}|(?:{_BARE})\b)"
_TAGS = (
    rf"<[A-Za-z][\w:.-]{{0,99}}+(?:{_ATTRIBUTE}){{0,30}}\s{{0,20}}+/?>",
    r"</[A-Za-z][\w:.-]{0,99}+\s{0,20}+>",
    r"<!--[^<>]{0,1000}?-->",
)

# Addresses end before spaces, quotes, ideographic punctuation and the letters of Chinese, Japanese and Korean.
_ENDS = r"\s<>\"“”„«»`|\\^\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_TLDS = "com|org|net|edu|gov|info|io|dev|app|eu|de|fr|it|es|nl|pl|ru|jp|cn|kr|uk|us|ca|au|ch|at|be|br"
_TAIL = rf"[^{_ENDS}]{{0,{_LONGEST}}}+"
_URLS = (
    rf"(?<![A-Za-z0-9+.-])(?:[A-Za-z][A-Za-z0-9+.-]{{1,20}}+://(?=[^{_ENDS}])|(?:mailto|tel|data):(?=[\w+]){_TAIL}){_TAIL}",
    rf"(?<![{_W}.@-])www\.(?=[{_W}-]){_TAIL}",
    rf"(?<![{_W}.@/-])(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}(?:{_TLDS})(?![{_W}-]|\.[{_W}])(?:[/?#:](?=[\w/{{%]){_TAIL})?",
)
_EMAILS = (rf"(?<![{_W}.+%-])[{_W}.+%-]{{1,64}}+@(?:[{_W}-]{{1,63}}+\.){{1,8}}[{_LETTER}]{{2,24}}(?![{_W}])",)
_SUFFIXES = (
    "bak|bat|bin|bz2|c|cfg|cmd|conf|cpp|cs|css|csv|deb|dll|doc|docx|dtd|epub|exe|gif|gz|h|hpp|htm|html|ico|ini|ipynb|"
    "iso|jar|java|jpeg|jpg|js|json|jsonl|jsx|kt|lock|log|lua|md|mo|mov|mp3|mp4|o|odp|ods|odt|ogg|otf|pdf|php|pl|png|"
    "po|pot|pptx|properties|ps1|py|pyc|rar|rb|rpm|rs|rst|rtf|sh|so|sql|srt|strings|svg|swift|tar|tex|tgz|tif|tiff|"
    "tmx|toml|ts|tsv|tsx|ttf|txt|vtt|vue|wav|webm|webp|whl|xhtml|xlf|xliff|xls|xlsx|xml|xsd|xslt|xz|yaml|yml|zip|zst"
)
_N = rf"{_W}+@%~"  # characters of a file name, within brackets, besides "." and "-"
_FILE = rf"(?=[{_N}.-]{{1,100}}\.(?:{_SUFFIXES})(?![{_N}-]|\.[{_W}]))[{_N}.-]{{1,110}}(?<!\.)"
_BACKSLASHED = rf"[^{_ENDS}'?*:,;(){{}}]"
_PATHS = (
    rf"(?<![{_W}\\])[A-Za-z]:\\(?:{_BACKSLASHED}{{1,255}}+\\?){{0,50}}",
    rf"(?<![{_W}\\])\\\\[\w.-]{{1,255}}+\\(?:{_BACKSLASHED}{{1,255}}+\\?){{1,50}}",
    rf"(?<![{_N}./<-])(?:~|\.\.?)?/(?:[{_N}.-]{{1,255}}+/){{1,50}}+[{_N}.-]{{0,255}}+",
    rf"(?<![{_N}./<-])(?:~|\.\.?)/[{_N}.-]{{1,255}}+",
    rf"(?<![{_N}./-])(?:[{_N}][{_N}.-]{{0,254}}+/){{1,50}}+{_FILE}",
    rf"(?<![{_N}./-]){_FILE}",
)
_CODE = (
    rf"(?<![{_W}-])--{_WORD}(?:-[{_W}]{{1,50}}+){{0,10}}+(?:=[^\s,;()\[\]\"']{{1,200}}+)?",
    rf"(?<![{_W}.])_{{0,2}}[^\W_]{{1,50}}+(?:_{{1,2}}[^\W_]{{1,50}}+){{1,15}}+_{{0,2}}(?:\(\))?(?![{_W}])",
    rf"(?<![{_W}.])__[^\W_]{{1,50}}+__(?![{_W}])",
    rf"(?<![{_W}.])(?:{_WORD}(?:\.|::|->)){{0,8}}{_WORD}\(\)",
    r"(?<![\w.-])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![\w-])",
    r"(?<![\w.])0[xX][0-9a-fA-F]{1,64}+(?!\w)",
    r"(?<![\w.-])[vV]\d{1,6}+(?:\.\d{1,6}+){1,6}+(?:[-+][\w+-]{1,50}+)?",
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5}|/\d{1,2})?(?!\w|\.\w)",
    r"(?<!:)\\(?:[nrt]|[abfv0\\\"'](?![A-Za-z])|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})",
)
_HANDLES = (
    rf"(?<![{_W}@.])@{_WORD}(?:[-.][{_W}]{{1,50}}+){{0,5}}+",
    rf"(?<![{_W}#&/])\#{_WORD}(?![{_W};])",
)

_PICTURE = (
    "(?:[\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff\u231a\u231b\u23e9-\u23f3\u23f8-\u23fa\u25fd"
    "\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299]\ufe0e?"
    "|[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u25aa-\u25fb\u24c2]\ufe0f)"
)
_EMOJI_ONE = (
    f"{_PICTURE}\ufe0f?[\U0001f3fb-\U0001f3ff]?(?:[\U000e0020-\U000e007e]{{1,20}}+\U000e007f)?"
    f"(?:\u200d{_PICTURE}\ufe0f?[\U0001f3fb-\U0001f3ff]?){{0,10}}"
)
_EMOJI = (
    f"(?:{_EMOJI_ONE}|[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|[\U0001f3fb-\U0001f3ff]){{1,100}}+",
    rf"(?<![{_W}:]):[a-z][a-z0-9_+-]{{1,40}}+:(?![{_W}:])",
)
# Zero-width characters: byte-order marks, directions and word joiners, and zero-width spaces except those that separate
# words of Thai, Lao, Myanmar and Khmer.
_INVISIBLE = (
    r"(?:[\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
    r"|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b(?![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])){1,100}+",
)
_NUMBERS = (r"(?<!\w)(?:[+\-−](?=\d))?\d{1,100}+(?:[.,:/'’\u00a0\u202f\u2009-]\d{1,100}+){0,20}+(?!\w)",)

PATTERNS = (
    _compile("placeholder", *_PRINTF, *_VARIABLES, *_TEMPLATES),
    _compile("entity", *_ENTITIES),
    _compile("tag", *_TAGS),
    _compile("url", *_URLS),
    _compile("e-mail", *_EMAILS),
    _compile("path", *_PATHS),
    _compile("code", *_CODE),
    _compile("handle", *_HANDLES),
    _compile("emoji", *_EMOJI),
    _compile("invisible", *_INVISIBLE),
)
NUMBERS = _compile("number", *_NUMBERS)

# The rest of a path or file name after a placeholder, as in %s/share/doc, {folder}/a.txt and {name}.json.
PATH_AFTER = re.compile(
    rf"(?:/[{_N}.-]{{1,255}}+){{2,20}}+/?|(?:/[{_N}-]{{1,100}}+)?\.(?:{_SUFFIXES})(?![{_N}-]|\.[{_W}])"
)

# Without one of these, no pattern of PATTERNS and no braces or backticks match: most sentences need only this search.
SIGNS = re.compile(
    r"[%{}$<&@#/\\_`\[]|\(\)|--|:[\w+]|(?<=[\w-])\.\w|0[xX]|-[0-9a-fA-F]{4}-|[vV]\d"
    "|[\u00a9\u00ae\u203c\u2049\u20e3\u2122\u2139\u2194-\u27bf\u2934-\u2b55\u3030\u303d\u3297\u3299\u24c2]"
    "|[\U0001f000-\U0001faff]"
    "|[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)

# What braces surround: nothing, or a name with an index, attribute, conversion, format or filters; or a function.
_NESTED = r"(?:[^{}\n]|\{[\w.]{0,50}\}){0,200}+"  # a format may contain variables: {x:>{width}}
PLACEHOLDER = re.compile(
    rf"\{{\s{{0,5}}+(?:[\w.$@\[\]/'\"-]{{0,100}}+\s{{0,5}}+(?:(?:[!|=?]|:(?!\s)|,-?\d){_NESTED})?"
    r"|-?[A-Za-z][\w-]{0,50}\([^{}()\n]{0,200}+\)\s{0,5}+)\}"
)
MESSAGE = re.compile(
    r"\{\s{0,20}+[\w.-]{1,100}+\s{0,20}+,\s{0,20}+"
    r"(?:plural|select|selectordinal|choice|number|date|time|spellout|ordinal|duration|list)\s{0,20}+[,}]"
    r"|\{\s{0,20}+(?:\$[\w-]{1,100}+|[A-Z][A-Z_-]{0,30}\([^{}()]{0,200}+\))\s{0,20}+->"  # a selector of Fluent
)
