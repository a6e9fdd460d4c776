"""Text that must not be translated is found; ordinary text is not."""

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.translation.protection import KeepOptions, find_kept, find_parts, has_digits, has_letters

FOUND = {
    "%s of %1$s, %(name)s, %d%%, %@ and %1$@: %lld %.2f %-10s %*d": (
        "%s %1$s %(name)s %d %% %@ %1$@ %lld %.2f %-10s %*d"
    ),
    "%dx%d, %dms, %Y-%m-%d %H:%M and %n": "%d %d %d %Y %m %d %H %M %n",
    "%1 of %2. %L1 files in %PATH% or %name%, %{count} and %<name>s": "%1 %2 %L1 %PATH% %name% %{count} %<name>s",
    "{name} {0} {} {{x}} {0:N2} {name!r:>10} {a.b[0]} {user|upper}": (
        "{name} {0} {} {{x}} {0:N2} {name!r:>10} {a.b[0]} {user|upper}"
    ),
    "${x} #{x} %{x} $(VAR) $HOME $obj->name": "${x} #{x} %{x} $(VAR) $HOME $obj->name",
    "&amp; and &#x27; and &#39; in AT&T": "&amp; &#x27; &#39;",
    "a &lt;b&gt;dog&lt;/b&gt;, 1 &lt; 2": "&lt;b&gt; &lt;/b&gt; &lt;",
    "see &lt;a href=&quot;a b&quot;&gt;it&lt;br/&gt;": "&lt;a␣href=&quot;a␣b&quot;&gt; &lt;br/&gt;",
    "<b>bold</b><br/> </p>": "<b> </b> <br/> </p>",
    "https://example.com/a_(b)?q=1&r={id}. Or (http://x.y/z), then!": "https://example.com/a_(b)?q=1&r={id} http://x.y/z",
    "file:///etc/x, mailto:a@b.de, www.foo.bar/baz! docs.python.org, example.com/path": (
        "file:///etc/x mailto:a@b.de www.foo.bar/baz docs.python.org example.com/path"
    ),
    "Write to <foo.bar+x@mail.example.co.uk>, please.": "foo.bar+x@mail.example.co.uk",
    "die info@example.org-Adresse": "info@example.org",
    r"/usr/share/doc/x.txt, ~/foo, ./run.sh, src/main.py, config.json, C:\new\x.exe": (
        r"/usr/share/doc/x.txt ~/foo ./run.sh src/main.py config.json C:\new\x.exe"
    ),
    "snake_case, __init__, foo(), a.b.c(), --dry-run, --out=x, v1.2.3, 192.168.0.1:80, 0xFF": (
        "snake_case __init__ foo() a.b.c() --dry-run --out=x v1.2.3 192.168.0.1:80 0xFF"
    ),
    "@user likes #python, C#, number #1": "@user #python",
    "👍🏽 👨\u200d👩\u200d👧 🇩🇪🇫🇷 1️⃣ ❤️ :smile: © ™": "👍🏽 👨\u200d👩\u200d👧 🇩🇪🇫🇷 1️⃣ ❤️ :smile:",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f": (
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    ),
    r"one\ntwo \u00e9": r"\n \u00e9",
    "请访问https://example.com/a。打开/usr/share/doc文件": "https://example.com/a /usr/share/doc",
    "共%1个，{name}님, %s을, %d개": "%1 {name} %s %d",
    "'{name}' and '{'": "{name} '{'",
    "%08b of @@name@@ and ##x##": "%08b @@name@@ ##x##",
    "%s%(name)s, %s%d, %n%-5d, %ab%c%d, %s%%": "%s %(name)s %s %d %n %-5d %c %d %s %%",
    "Go %v, %+v, %#v, %T, %q, %[1]d, %6.2f; C %-5.2lf, %hhu, %zu, %.*s, %ls, %+d, %#x, %05.1f, % 5d, %I64d": (
        "%v %+v %#v %T %q %[1]d %6.2f %-5.2lf %hhu %zu %.*s %ls %+d %#x %05.1f %␣5d %I64d"
    ),
    "%#@files@ and %1$#@n@, %1!s!, %2!08lX!, %'.10d, %'d, %(x).2f, %(n)d, %{x}, %<y>.1f": (
        "%#@files@ %1$#@n@ %1!s! %2!08lX! %'.10d %'d %(x).2f %(n)d %{x} %<y>.1f"
    ),
    "$t(key), $t(common:a.b), {{count}}, {{- name}}, @:message.hello, @.lower:brand, @:(a.b), {x}|{y}": (
        "$t(key) $t(common:a.b) {{count}} {{-␣name}} @:message.hello @.lower:brand @:(a.b) {x} {y}"
    ),
    "The :attribute must be :value. { $x }, { -brand }, {$INTERPOLATION}, {0:>{width}}, {:?}, {x!r}, \\(user.name)": (
        ":attribute :value {␣$x␣} {␣-brand␣} {$INTERPOLATION} {0:>{width}} {:?} {x!r} \\(user.name)"
    ),
    "%s/share/doc, {folder}/a.txt, {name}.json. $HOME/x/y: {n}/day, %d/min": (
        "%s/share/doc {folder}/a.txt {name}.json $HOME/x/y {n} %d"
    ),
}


@pytest.mark.parametrize(("text", "parts"), FOUND.items())
def test_kept(text, parts):
    assert [text[start:end] for start, end in find_kept(text)] == [part.replace("␣", " ") for part in parts.split(" ")]


@pytest.mark.parametrize(
    "text",
    [
        "{count, plural, one {# file in {folder}} other {# files}}",
        "{gender, select, male {He} female {She} other {They}}",
        "{n, plural, =0 {it's '{'empty'}'} other {#}}",
        "{{ user.name | default: 'x' }}",
        "{% if user %}",
        '{%- set x = {"a": 1} -%}',
        "{# comment #}",
        "{!! $user->name !!}",
        "{{{ raw }}}",
        "{{count, number}}",
        "{{price, currency(USD)}}",
        '$t(key, { "count": 3 })',
        "<%= user.name %>",
        "<% if a > 1 && b < 2 %>",
        "<?php echo $user->name; ?>",
        '{ NUMBER($ratio, style: "percent") }',
        "{ DATETIME($d) }",
        "{ $n -> [one] a file *[other] { $n } files }",
        "{0,choice,0#none|1#one|1<many {0}}",
        "{0,number,#.##}",
        "{n, selectordinal, one {#st} other {#th}}",
        "{VAR_PLURAL, plural, =0 {just now} other {{{INTERPOLATION}} ago}}",
        "${a + b}",
        "`ls -l | wc`",
        "``a ` b``",
        "<a href=\"https://x.y/{id}\" class='c' disabled>",
        "<!-- note -->",
        r"\\server\share\a.txt",
    ],
)
def test_kept_whole(text):
    for around in ("{}", "See {}, please", "({})", "„{}“"):
        whole = around.replace("{}", text)
        assert [whole[start:end] for start, end in find_kept(whole)] == [text]


@pytest.mark.parametrize(
    "text",
    [
        "100 % sure, 100% sure, 100%sure, 50%-off, a 5 % discount",
        "5 { and 6 } or {", "{Note: this is text} {two words}", "f(x) = {1 < 2}",
        "a < b and c > d, x <y and z> w, 3<4>2",
        "and/or, he/she/they, km/h, 1/2, 24/7, A/B",
        "e.g. this, i.e. that, U.S. and No. 5, end.Next sentence",
        "GNU's quotes `foo' and `bar' are no code",
        "well-known -- really -- isn't he? (see p. 5) [1] *bold* \"quoted\" it's",
        "It costs $5, US$ 5, 3.50 € or 1,234.50 at 10:30 on 2024-01-02, he said: yes :-)",
        "R&D; Q&A", "a@b", "C# and F#", "10:30:15",
        "50 % 3D and 20 % d. Sch.", "note : this; smile :-) :D at 5 :30", "he said:this", "a|b",
        "",
    ],
)  # fmt: skip
def test_ordinary_text(text):
    assert find_kept(text) == ()


def test_numbers_and_own_patterns_on_demand():
    text = "On 2024-01-02 at 12:30, ACME sold 1,234.50 of a1 at 50 %"
    options = KeepOptions(numbers=True, patterns=(re.compile("ACME"),))
    assert [text[a:b] for a, b in find_kept(text, options)] == ["2024-01-02", "12:30", "ACME", "1,234.50", "50"]


def test_kinds():
    text = "%s {n, plural, other {#}} &amp; <b> https://x.org a@b.org /a/b `c` @d 😀"
    kinds = "placeholder message entity tag url e-mail path code handle emoji"
    assert [part.kind for part in find_parts(text)] == kinds.split()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('The dog <span class="notranslate">Rex</span>, runs', '<span class="notranslate">Rex</span>'),
        ("<b translate=no>A <b>b</b> c</b> d", "<b translate=no>A <b>b</b> c</b>"),
        ("Run <code>git <i>log</i></code>!", "<code>git <i>log</i></code>"),
        ("(<x>1</x>) of <b>{n} / <i>%s</i></b>", "<x>1</x> <b>{n} / <i>%s</i></b>"),
        ("a <b>1</a> <i>2</i>", "<b> </a> <i>2</i>"),
        ('<b>a</b> <i></i><p class="my-notranslates">b</p>', '<b> </b> <i> </i> <p class="my-notranslates"> </p>'),
    ],
)  # fmt: skip
def test_elements_without_translatable_text_are_kept_whole(text, found):
    assert " ".join(text[a:b] for a, b in find_kept(text)) == found


@given(st.lists(st.sampled_from([part for parts in FOUND.values() for part in parts.split(" ")]) | st.text(max_size=4)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_first_search_misses_nothing(parts):
    text = " ".join(parts)
    assert find_kept(text) == find_kept(text, KeepOptions(patterns=(re.compile("(?!)"),)))


def test_parts_are_in_order_without_overlap_in_any_text():
    rng = random.Random(1)
    for _ in range(300):
        text = "".join(
            rng.choices(["%s", "{", "}", "a", " ", "<a ", ">", "`", "https://", ".", "@", "/", "_", "😀", "$"], k=30)
        )
        end = 0
        for start, stop in find_kept(text):
            assert end <= start < stop <= len(text)
            end = stop


# fmt: off
REPEATED = (
    "a", "{", "}", "{}", "`", "` ", "``` `", "<a ", "<a b=", '<a b="', "%", "% ", "%(", "&", "&a", "http://", "http://a",
    "a@", "a.", "a/", "/a", "_a", "a-", "--a", "{{", "\\", "C:\\", "1.", "👍\u200d", "🇩", "#a", ":a", "@a", "$a.", "${",
    "[[", "<%", "a(", "a::", "0x", "v1.", "w.", "a@b.", "{a,plural,{", "<!--", "www.", "mailto:", "\\x", "a_", "((",
    "<a>", "<a></b>", "<a>1", "<code>", "<b class=notranslate ",
)
# fmt: on


def test_time_is_linear():
    def seconds(text: str) -> float:
        times = []
        for _ in range(2):
            start = time.process_time()
            find_kept(text)
            times.append(time.process_time() - start)
        return min(times)

    for unit in REPEATED:
        short, long = (unit * (size // len(unit)) for size in (2_000, 16_000))
        assert seconds(long) < 30 * max(seconds(short), 0.01), unit


def test_letters_and_digits():
    assert not any(map(has_letters, ("", "?", "12", "3,50 €", "-", "😀", "\u200b\u200d\ufeff", "½ Ⅷ", "…«»")))
    assert all(map(has_letters, ("a", "3 km", "ß", "가", "字", "я", "ª1")))
    assert has_digits("3,50 €")
    assert not has_digits("?")
