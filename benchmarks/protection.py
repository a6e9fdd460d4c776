"""Measure the protection of placeholders: `python benchmarks/protection.py RUN --source FILE --reference FILE`.

One or two nouns of each source sentence, and the words of the reference that align with them one to one, are replaced
by placeholders, URLs, paths or code; sentences without such words are left out. BLEU counts each as one word, which a
translation must have in its place. Compared are other methods, and the time of sentences without placeholders with and
without protection. The result is a dated Markdown page in benchmarks/results.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import torch  # noqa: E402

from allyouneed import Translator  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from allyouneed.translation.evaluation.metrics import corpus_scores  # noqa: E402
from allyouneed.translation.protection import find_kept  # noqa: E402
from allyouneed.translation.protection.placement import Wanted, place  # noqa: E402
from allyouneed.translation.protection.stand_ins import stand_ins_of  # noqa: E402
from allyouneed.translation.sentence import Sentence  # noqa: E402
from allyouneed.translation.sentence_translation import translate_sentences  # noqa: E402
from allyouneed.translation.word_alignment import Span, align_words  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

KEPT = (
    "%s", "{name}", "%(count)d", "{{ user.name }}", "https://example.com/a?b=1", "user@example.org", "/usr/share/doc",
    "`ls -l`",
)  # fmt: skip
CODES, NAMES = ("X1", "X2"), ("Placeholderone", "Placeholdertwo")


class Case(NamedTuple):
    """A sentence pair.

    Attributes:
        source: The source.
        reference: The reference.
        spans: Words of the source that are replaced, in order.
        aligned: The words of the reference that align with them.
        kept: What replaces them.
    """

    source: str
    reference: str
    spans: list[Span]
    aligned: list[Span]
    kept: list[str]

    def with_(self, words: Sequence[str]) -> str:
        """Return the source with these words."""
        return replaced(self.source, self.spans, words)

    def expected(self) -> str:
        """Return the reference with a name for each placeholder."""
        return replaced(self.reference, self.aligned, NAMES)


def replaced(text: str, spans: Sequence[Span], words: Sequence[str]) -> str:
    for (start, end), word in sorted(zip(spans, words, strict=False), reverse=True):
        text = text[:start] + word + text[end:]
    return text


def make_cases(translator: Translator, sources: Sequence[str], references: Sequence[str]) -> list[Case]:
    """Replace words that align one to one in both directions."""
    rng, cases = random.Random(1), []
    for source, reference, words in zip(
        sources, references, align_words(translator, list(zip(sources, references, strict=True))), strict=True
    ):
        links = words.links()
        used = [a for a, _ in links]
        possible = [
            (a, b)
            for a, b in links
            if used.count(a) == 1 and a[0] > 0 < b[0] and a[1] - a[0] > 2 and source[slice(*a)].isalpha()
            if reference[slice(*b)].istitle()
            if "-" not in (source[a[0] - 1], source[a[1] : a[1] + 1])  # a part of a compound
        ]
        if possible:
            chosen = sorted(rng.sample(possible, min(len(possible), rng.choice((1, 1, 2)))))
            kept = rng.sample(KEPT, len(chosen))
            cases.append(Case(source, reference, [a for a, _ in chosen], [b for _, b in chosen], kept))
    return cases


def unprotected(translator: Translator, cases: Sequence[Case]) -> list[str]:
    found = translator.translate([case.with_(case.kept) for case in cases])
    return [named(one.text, case.kept) for one, case in zip(found, cases, strict=True)]


def codes(translator: Translator, cases: Sequence[Case], forced: bool) -> list[str]:
    words = [list(CODES[: len(case.spans)]) for case in cases]
    found = translator.translate([case.with_(CODES) for case in cases], force_words=words if forced else ())
    return [named(one.text, CODES) for one in found]


def removed(translator: Translator, cases: Sequence[Case]) -> list[str]:
    """Translate without the placeholders, and insert them after the translation of the word before them."""
    texts, positions = [], []
    for case in cases:
        text, at, found = "", 0, []
        for start, end in case.spans:
            text += case.source[at:start]
            found.append(len(text.rstrip()))
            at = end + 1 if case.source[end : end + 1] == " " else end
        texts.append(text + case.source[at:])
        positions.append(found)
    translations = [one.text for one in translator.translate(texts)]
    out = []
    for target, words, found in zip(
        translations, align_words(translator, list(zip(texts, translations, strict=True))), positions, strict=True
    ):
        wanted = [
            Wanted((at, at), name, before=" ", after=" ", is_mark=True) for at, name in zip(found, NAMES, strict=False)
        ]
        out.append(place(target, words, wanted).text)
    return out


def stand_ins(translator: Translator, cases: Sequence[Case]) -> list[str]:
    texts = [case.with_(case.kept) for case in cases]
    sentences = [Sentence(text, find_kept(text)) for text in texts]
    found = translate_sentences(translator, sentences)
    return [named(one.text, case.kept) for one, case in zip(found, cases, strict=True)]


def named(text: str, kept: Sequence[str]) -> str:
    for name, each in zip(NAMES, kept, strict=False):
        text = text.replace(each, name)
    return text


METHODS: dict[str, Callable[[Translator, Sequence[Case]], list[str]]] = {
    "the model alone": unprotected,
    "X1, X2 as stand-ins": lambda translator, cases: codes(translator, cases, False),
    "X1, X2 as stand-ins, forced": lambda translator, cases: codes(translator, cases, True),
    "removed, inserted by alignment": removed,
    "nouns as stand-ins, replaced by alignment (used)": stand_ins,
}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    pairs = list(zip(read_text(args.source), read_text(args.reference), strict=True))[: args.sentences]
    translator = Translator.load(args.run, inter_threads=1)
    sources, references = [source for source, _ in pairs], [reference for _, reference in pairs]
    translator.translate(sources[:50])  # warm up
    cases = make_cases(translator, sources, references)
    start = time.perf_counter()
    stand_ins_of(translator)
    found_after = time.perf_counter() - start
    originals = [case.source for case in cases]
    bleu = corpus_scores([one.text for one in translator.translate(originals)], [case.reference for case in cases]).bleu
    rows = [f"| the words themselves | {bleu:.1f} | | |"]
    for name, method in METHODS.items():
        start = time.perf_counter()
        translations = method(translator, cases)
        seconds = time.perf_counter() - start
        once = sum(
            all(text.count(each) == 1 for each in NAMES[: len(case.kept)])
            for text, case in zip(translations, cases, strict=True)
        )
        bleu = corpus_scores(translations, [case.expected() for case in cases]).bleu
        rows.append(f"| {name} | {bleu:.1f} | {once / len(cases):.1%} | {seconds:.1f} |")
        print(rows[-1], flush=True)
    plain, protected = _seconds(translator, sources, args.repeats)
    page = args.out / f"{time.strftime('%Y-%m-%d')}-protection.md"
    args.out.mkdir(parents=True, exist_ok=True)
    head = f"# Protection of placeholders, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n"
    head += f"{len(cases):,} sentences with {sum(len(case.kept) for case in cases):,} placeholders, one thread. "
    head += f"The stand-ins were found in {found_after:.1f} s, once for a model. {len(sources):,} sentences without "
    head += f"placeholders take {protected / plain:.3f} of the time without protection (medians of {args.repeats}).\n"
    table = ["| | BLEU | all placeholders once | seconds |", "| --- | --- | --- | --- |", *rows]
    page.write_text("\n".join([head, *table, ""]), "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def _seconds(translator: Translator, texts: Sequence[str], repeats: int) -> tuple[float, float]:
    """Return the median times of translating texts without and with protection, in alternating rounds."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        start = time.perf_counter()
        translator.translate(texts)
        times[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        translate_sentences(translator, [Sentence(text, find_kept(text)) for text in texts])
        times[1].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
