"""Placement of codes: every code once, well nested, with the spaces of the source."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from allyouneed.documents.code_placement import place_codes
from allyouneed.documents.flat_text import flatten
from allyouneed.documents.segment_translation import assemble, prepare
from allyouneed.documents.segments import Code, CodeKind
from allyouneed.documents.token_alignment import AlignedText
from allyouneed.translation.sentence import TranslatedSentence

TAG = re.compile(r"<(/?)(\w+)(/?)>|\[(\w*)\]")


def parts(markup: str):
    """Read `<b>..</b>` as a pair, `<x/>` as a code without text, and `[Rex]` as a code that shows Rex."""
    out, position, open_pairs, count = [], 0, [], 0
    for match in TAG.finditer(markup):
        out += [markup[position : match.start()]] if position < match.start() else []
        position, raw = match.end(), match[0]
        if match[2] is None:
            out.append(Code(raw, text=match[4] or " "))
        elif match[3]:
            out.append(Code(raw))
        elif match[1]:
            out.append(Code(raw, CodeKind.CLOSE, open_pairs.pop()))
        else:
            count += 1
            open_pairs.append(count)
            out.append(Code(raw, CodeKind.OPEN, count))
    return (*out, markup[position:]) if position < len(markup) else tuple(out)


def markup(placed) -> str:
    return "".join(part if isinstance(part, str) else part.raw for part in placed)


def words(text: str):
    return [match.span() for match in re.finditer(r"\S+", text)]


def place(source: str, target: str, links: str, kept: str = "") -> str:
    """Place the codes of a source with links such as "0-1 1-0" between its space-separated words and the target's."""
    flat = flatten(parts(source))
    ones, others = words(flat.text), words(target)
    linked = [(ones[int(i)], others[int(j)]) for i, j in (link.split("-") for link in links.split())]
    shown = [(flat.text.index(each), target.index(each), len(each)) for each in kept.split()]
    spans = [((i, i + size), (j, j + size)) for i, j, size in shown]
    whole = [((0, len(flat.text)), (0, len(target)))]
    return markup(place_codes(flat, AlignedText(target, spans, linked, whole)))


@pytest.mark.parametrize(
    ("source", "target", "links", "kept", "expected"),
    [
        ("rot <b>groß</b> Haus", "house big red", "0-2 1-1 2-0", "", "house <b>big</b> red"),
        ("Der Hund [Rex], läuft", "The dog Rex, runs", "0-0 1-1 3-3", "Rex", "The dog [Rex], runs"),
        ("Der Hund (<x>1</x>) da", "The dog (1) there", "0-0 1-1 2-2 3-3", "", "The dog (<x>1</x>) there"),
        ("Ein „<b>Hund</b>“, ja", 'A "dog", yes', "0-0 1-1 2-2", "", 'A "<b>dog</b>", yes'),
        ("<b>Hund.</b>", "Dog.", "0-0", "", "<b>Dog.</b>"),
        ("Der <b>Hund</b>.", "The dog.", "0-0 1-1", "", "The <b>dog</b>."),
        ("<i>a <b>b</b></i> c", "C B A", "0-2 1-1 2-0", "", "C <i><b>B</b> A</i>"),
        ("Ich <b>rufe</b> dich an", "I call you up", "0-0 1-1 1-3 2-2", "", "I <b>call</b> you up"),
        ("Wort<f/> hier.", "Word here.", "0-0 1-1", "", "Word<f/> here."),
        ("Ein <i/> Bild", "Picture a", "0-1 1-0", "", "Picture a <i/>"),
        ("Ein <i/>Bild", "A picture", "0-0 1-1", "", "A <i/>picture"),
        ("eins[]zwei drei vier", "one two three four", "0-0 1-1 2-2 3-3", "", "one[]two three four"),
        ("a <b>b</b> c", "A C", "0-0 2-1", "", "A <b>C</b>"),
        ("a <b></b>b", "B A", "0-1 1-0", "", "B A<b></b>"),
        ("un<b>glaub</b>lich gut", "unbelievably good", "0-0 1-1", "", "<b>unbelievably</b> good"),
        ("Der<b> Hund</b> da", "The dog there", "0-0 1-1 2-2", "", "The<b> dog</b> there"),
        ("<b>a</b><i>b</i> c", "B A c", "0-0 1-2", "", "<b>B</b> <i>A</i> c"),
    ],
)
def test_codes_follow_their_words(source, target, links, kept, expected):
    assert place(source, target, links, kept) == expected


ATOMS = st.sampled_from(
    ["<b>", "</b>", "<i>", "</i>", "<x/>", "[]", "[Rex]", "wort", "Hund", ", ", ".", " ", " ", "(", ")", "日本"]
)


def well_formed(atoms: list[str]) -> str:
    """Close and drop tags so that they are nested."""
    out, stack = [], []
    for atom in atoms:
        if atom.startswith("</"):
            if atom[2] not in stack:
                continue
            while stack and stack[-1] != atom[2]:
                out.append(f"</{stack.pop()}>")
            stack.pop()
        elif atom in ("<b>", "<i>"):
            stack.append(atom[1])
        out.append(atom)
    return "".join([*out, *(f"</{name}>" for name in reversed(stack))])


def is_nested(text: str) -> bool:
    stack = []
    for match in re.finditer(r"<(/?)(\w+)(/?)>", text):
        if match[1]:
            if not stack or stack.pop() != match[2]:
                return False
        elif not match[3]:
            stack.append(match[2])
    return not stack


@given(st.lists(ATOMS, max_size=14).map(well_formed), st.text("ab .,(日", max_size=20), st.data())
def test_every_code_occurs_once_and_nested_whatever_the_model_says(source, target, data):
    source_parts = parts(source)
    prepared = prepare(source_parts, "de")
    translated = []
    for sentence in prepared.sentences:
        kept, text = [], target
        for start, end in sentence.kept:
            kept.append((len(text), len(text) + end - start))
            text += sentence.text[start:end] + data.draw(st.sampled_from(["", " "]))
        ones, others = words(sentence.text), words(text)
        links = [(data.draw(st.sampled_from(ones)), each) for each in others] if ones else []
        translated.append(TranslatedSentence(text, tuple(kept), tuple(links)))
    result = assemble(prepared, translated)
    assert sorted(p for p in result.parts if isinstance(p, Code)) == sorted(
        p for p in source_parts if isinstance(p, Code)
    )
    assert is_nested(markup(result.parts))


@given(st.lists(ATOMS, max_size=14).map(well_formed))
def test_a_translation_word_by_word_keeps_codes_where_they_were(source):
    """A translation of the same words, aligned in order, has the codes and spaces of the source."""
    assume(not re.search(r"\w(<[^>]*>|\[\])+\w", source))  # within a word
    source_parts = parts(re.sub(r" +", " ", source))
    flat = flatten(source_parts)
    kept = [((c.start, c.end),) * 2 for c in flat.codes if c.end > c.start]
    links = [(span, span) for span in words(flat.text)]
    placed = place_codes(flat, AlignedText(flat.text, kept, links, [((0, len(flat.text)),) * 2]))
    assert markup(placed).replace(" ", "") == markup(source_parts).replace(" ", "")


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("Ein (<x>1</x>) Hund", ["(1)"]),
        ("Hund<x>1</x>, <b>Ja</b>", ["1"]),
        ("Der ([Rex]) da", ["(Rex)"]),
        ("Ein <b> 2 </b> x", ["2"]),
        ("Ein <b>rotes</b> (Haus)", []),
    ],
)
def test_elements_without_letters_are_kept_with_the_brackets_around_them(source, kept):
    [sentence] = prepare(parts(source), "de").sentences
    assert [sentence.text[start:end] for start, end in sentence.kept] == kept
