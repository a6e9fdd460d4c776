"""Sentences with kept parts and terms: what must be in a translation is there, whatever the model generates."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allyouneed import SearchOptions, Translator
from allyouneed.bundle import load_bundle, save_bundle
from allyouneed.translation.protection import find_kept, find_parts
from allyouneed.translation.protection.learned import entities_share
from allyouneed.translation.protection.part_translation import occurrences
from allyouneed.translation.sentence import Sentence, Term
from allyouneed.translation.sentence_translation import _checked, translate_sentences

KEPT = [
    "%s", "%1$s", "%(name)s", "%d", "%%", "%@", "{name}", "{0}", "{{x}}", "${x}", "#{x}", "{}", "&amp;",
    "&#x27;", "&nbsp;",
    "{n, plural, one {# a} other {# b}}", "<b>", "</b>", "<br/>", "https://example.com/a?b=1", "a.b@example.org",
    "/usr/share/doc", "`ls -l`", "😀", "👨\u200d👩\u200d👧", "🇩🇪", "snake_case", "--dry-run", "\\n", "@user",
]  # fmt: skip
WORDS = ["a", "b", "c d", "h", "ab", "fg", "xyz", "Ä", "漢字", "가나", "7", "3,50"]
SEPARATORS = [" ", " ", " ", "", ", ", ". ", ": ", " (", ") ", '"', "'", "-", "/", "  ", "\u00a0", "\u200b", "!"]
pieces = st.lists(st.tuples(st.sampled_from([*KEPT, *WORDS]), st.sampled_from(SEPARATORS)), max_size=12)


@pytest.fixture(scope="module")
def translator(toy_run) -> Translator:
    return Translator.load(toy_run)


def sentence(text: str) -> Sentence:
    return Sentence(text, find_kept(text))


def translate(translator: Translator, *texts: str, **options) -> list[str]:
    found = translate_sentences(translator, [sentence(text) for text in texts], SearchOptions(**options))
    return [one.text for one in found]


def check(translator: Translator, texts: list[str]) -> None:
    """Each kept part is in the translation once, unchanged, in its own place; tags are in order."""
    given_sentences = [sentence(text) for text in texts]
    for source, found in zip(
        given_sentences, translate_sentences(translator, given_sentences, links=True), strict=True
    ):
        expected = [source.text[slice(*span)] for span in source.kept]
        assert [found.text[slice(*span)] for span in found.kept] == expected, source.text
        spans = sorted(found.kept)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        tags = [part for part in expected if part.startswith("<") and part.find(">") == len(part) - 1]
        placed = sorted((span, part) for span, part in zip(found.kept, expected, strict=True) if part in tags)
        assert [part for _, part in placed] == tags
        problem = " ".join(found.problems)
        extra = [found.text[p.start : p.end] for p in find_parts(found.text) if p.kind in ("placeholder", "tag", "url")]
        assert all(any(each in part or part in each for part in expected) or each in problem for each in extra)
        for (a, b), (c, d) in found.links:
            assert 0 <= a < b <= len(source.text)
            assert 0 <= c < d <= len(found.text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(pieces.map(lambda parts: "".join(map("".join, parts))), min_size=1, max_size=5))
def test_kept_parts_come_through(translator, texts):
    check(translator, texts)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(pieces.map(lambda parts: "".join(map("".join, parts))), min_size=5, max_size=5))
def test_kept_parts_come_through_10_000_sentences(translator, texts):
    check(translator, texts)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_any_text_with_any_kept_spans(translator, text, cuts):
    cuts = sorted({min(cut, len(text)) for cut in cuts})
    spans = tuple(zip(cuts[::2], cuts[1::2], strict=False))
    [found] = translate_sentences(translator, [Sentence(text, spans)])
    assert [found.text[slice(*span)] for span in found.kept] == [text[slice(*span)] for span in spans]


def test_what_has_no_letters_is_copied(translator):
    texts = ["?", "12", "3,50 €", "-", "…", "😀", "\u200b", "%s: %d", "{name}!", "(https://example.com)", "", "  "]
    found = translate_sentences(translator, [sentence(text) for text in texts])
    assert [one.text for one in found] == texts
    assert all(one.is_copied for one in found)
    assert not any(one.problems for one in found)


def test_sentences_without_kept_parts_are_translated_as_ever(translator):
    texts = ["a b c", "h g f", "d"]
    expected = translator.translate(texts, beam_size=2, num_hypotheses=2)
    found = translate_sentences(translator, [sentence(t) for t in texts], SearchOptions(beam_size=2, num_hypotheses=2))
    assert [(one.text, one.score, list(one.hypotheses)) for one in found] == [
        (one.text, one.score, one.hypotheses) for one in expected
    ]


def test_every_hypothesis_has_the_kept_parts(translator):
    [found] = translate_sentences(translator, [sentence("a {x} b %s c")], SearchOptions(beam_size=4, num_hypotheses=4))
    assert len(found.hypotheses) == 4
    assert all(text.count("{x}") == text.count("%s") == 1 for text, _ in found.hypotheses)


def test_brackets_and_quotes_around_kept_parts_stay(translator):
    for text in ("({x})", '"%s"', "'{0}'", "[{x}]", "«%d»", "(<x>1</x>)", "{a}/{b}", "${x}%", "#{x}-{y}", "(1)"):
        source = f"a b {text} c d"
        kept = find_kept(source) or ((source.index("1"), source.index("1") + 1),)
        [found] = translate_sentences(translator, [Sentence(source, kept)])
        assert text in found.text


def test_labels_and_values_stay_at_the_ends(translator):
    source = Sentence(">>x<< {y}: a b {z} c: {x}!", ((6, 9), (15, 18), (22, 25)))
    text = "{y}: a b {z} c: {x}!"
    [found] = translate_sentences(translator, [sentence(text)], SearchOptions(beam_size=4, num_hypotheses=4), True)
    assert all(each.startswith("{y}: ") and each.endswith(": {x}!") for each, _ in found.hypotheses)
    assert all(each.count("{z}") == 1 for each, _ in found.hypotheses)
    assert [found.text[slice(*span)] for span in found.kept] == ["{y}", "{z}", "{x}"]
    for (a, b), (c, d) in found.links:
        assert text[a:b].strip() == text[a:b] != ""
        assert found.text[c:d].strip() == found.text[c:d] != ""
    [found] = translate_sentences(translator, [source])
    assert [found.text[slice(*span)] for span in found.kept] == ["{y}", "{z}", "{x}"]


def test_long_sentences_keep_everything(translator):
    text = " ".join(f"a b {{x{i}}} c" for i in range(60))
    [found] = translate(translator, text)
    assert all(found.count(f"{{x{i}}}") == 1 for i in range(60))


@pytest.mark.parametrize(
    "options", [{}, {"beam_size": 1}, {"num_beam_groups": 2, "beam_size": 4}, {"sampling_topk": 5}]
)
def test_terms_are_forced(translator, options):
    given_sentence = Sentence("a b {x} c d", ((4, 7),), (Term((8, 9), "gh ab"), Term((0, 1), "f")))
    [found] = translate_sentences(translator, [given_sentence], SearchOptions(**options))
    assert "gh ab" in found.text
    assert "f" in found.text.split()
    assert found.text.count("{x}") == 1


def test_forced_words_beside_kept_parts_and_terms(translator):
    given_sentences = [
        Sentence("a b {x} c", ((4, 7),), (Term((8, 9), "gh"),)),
        sentence("a b"),
        sentence("%s"),
        sentence("?"),
    ]
    found = translate_sentences(translator, given_sentences, force_words=["fg", "h a"])
    assert all("fg" in one.text and "h a" in one.text for one in found[:2])
    assert found[0].text.count("{x}") == found[0].text.split().count("gh") == 1
    assert [one.text for one in found[2:]] == ["%s", "?"]
    assert found[3].problems == tuple(
        f"There is nothing to translate, so “{each}” is missing." for each in ("fg", "h a")
    )


def test_terms_may_contain_what_is_kept_elsewhere(translator):
    given_sentence = Sentence("a {x} b c", ((2, 5),), (Term((6, 7), "{x}"), Term((8, 9), "{x} {y}")))
    [found] = translate_sentences(translator, [given_sentence])
    assert found.text.count("{x}") == 3
    assert not any("source lacks" in problem for problem in found.problems)


def test_a_term_at_the_beginning_of_a_sentence_has_a_capital(translator):
    for source, span, target, begin in (
        ("A", (0, 1), "gh ab", "Gh ab"),
        ("a", (0, 1), "gh ab", "gh ab"),
        ("A", (0, 1), "iPhone", "iPhone"),
    ):
        [found] = translate_sentences(translator, [Sentence(source, (), (Term(span, target),))])
        assert found.text.startswith(begin), source
        assert found.text.lower().count(target.lower()) == 1
    assert occurrences("Gh ab c", "gh ab") == [(0, 5)]
    assert occurrences("c Gh ab", "gh ab") == []
    assert occurrences("“Gh” gh", "gh") == [(1, 3), (5, 7)]


def test_a_term_replaces_what_is_kept_elsewhere(translator):
    given_sentence = Sentence.of("a b README.md c {x} d", ((4, 13), (16, 19)), (Term((4, 13), "LIESMICH.md"),))
    [found] = translate_sentences(translator, [given_sentence], links=True)
    assert found.text.count("LIESMICH.md") == found.text.count("{x}") == 1
    assert "README" not in found.text
    assert [found.text[slice(*span)] for span in found.kept] == ["{x}"]
    assert ((4, 13), (found.text.index("LIES"), found.text.index("LIES") + 11)) in found.links


def test_placed_terms_are_linked_with_their_source(translator):
    given_sentence = Sentence("a b {x} c d", ((4, 7),), (Term((8, 9), "gh ab"),))
    [found] = translate_sentences(translator, [given_sentence], links=True)
    start = found.text.index("gh ab")
    assert ((8, 9), (start, start + 5)) in found.links


def test_links_of_words(translator):
    [found] = translate_sentences(translator, [Sentence("a b c")], links=True)
    assert {found.text[slice(*target)] for _, target in found.links} == set(found.text.split())


def test_models_trained_on_numbers_translate_them(translator):
    bundle = replace(translator.bundle, numbers_share=0.2)
    texts = ["12", "1987.6.29", "?", "{x}"]
    found = translate_sentences(Translator(bundle), [sentence(text) for text in texts])
    assert [one.is_copied for one in found] == [False, False, True, True]
    without = Translator(replace(translator.bundle, numbers_share=None, samples=[{"source": "1987.6.29"}]))
    assert not translate_sentences(without, [sentence("12")])[0].is_copied


def test_models_trained_on_escaped_characters_translate_them(translator):
    bundle = replace(translator.bundle, entities_share=0.06)
    text = "a &apos;b c {x}"
    for model, kept in ((Translator(bundle), ["{x}"]), (translator, ["&apos;", "{x}"])):
        [found] = translate_sentences(model, [sentence(text)])
        assert [found.text[slice(*span)] for span in found.kept] == kept
    [plain] = translate_sentences(Translator(bundle), [sentence("a &apos;b c")])
    assert plain.text == Translator(bundle).translate(["a &apos;b c"])[0].text
    samples = [{"source": "the man &apos;s hat"}, {"source": "a hat"}]
    [found] = translate_sentences(Translator(replace(bundle, entities_share=None, samples=samples)), [sentence(text)])
    assert len(found.kept) == 1


@pytest.mark.parametrize(
    ("sources", "share"), [(["a &apos;s b", "c & d", "&#91; x", "R&D; y"], 0.5), (["a"], 0.0), ([], 0.0)]
)
def test_the_share_of_escaped_characters(sources, share):
    assert entities_share(sources) == share


def test_the_share_of_numbers_is_stored_with_the_bundle(toy_run, tmp_path):
    bundle = load_bundle(toy_run / "bundle")
    assert bundle.numbers_share == bundle.entities_share == 0
    save_bundle(replace(bundle, numbers_share=0.25, entities_share=0.5), tmp_path / "bundle")
    stored = load_bundle(tmp_path / "bundle")
    assert (stored.numbers_share, stored.entities_share) == (0.25, 0.5)


def test_a_bundle_without_reference_outputs(translator):
    [found] = translate_sentences(Translator(replace(translator.bundle, samples=[])), [sentence("a {x} b")])
    assert found.text.count("{x}") == 1


def test_text_is_reported_that_only_the_model_wrote():
    source = sentence("a {x} b")
    text, kept, problems = _checked(source, "{x} b {x} {y}", ((0, 3),), frozenset(("placeholder",)))
    assert (text, kept) == ("{x} b {y}", ((0, 3),))
    assert problems == ["The translation contains “{y}”, which the source lacks."]
