"""Rows of `levers.py` with several corpora, for 1,500 pairs of Multi30k: weights, languages, back-translation."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from allyouneed.data.corpora import Corpus, corpus, in_directions
from allyouneed.training.request import Request
from allyouneed.translation.back_translation import back_translate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

FEW, OTHER, BIBLE = 1500, slice(6000, 9000), "bible.de-en.tsv"
BASELINE, REVERSE = "de-en, 1,500 pairs", "en-de, 1,500 pairs"


def write_texts(data: Path, work: Path, read_lines: Callable[[Path], list[str]]) -> None:
    """Write further text: French-English pairs and English lines that the other rows do not train on; Bible verses."""
    english, french = (read_lines(data / "multi30k" / f"train.{side}.gz")[OTHER] for side in ("en", "fr"))
    pairs = "".join(f"{source}\t{target}\n" for source, target in zip(french, english, strict=True))
    (work / "fr-en.tsv").write_text(pairs, encoding="utf-8")
    (work / "mono.en").write_text("".join(f"{line}\n" for line in english), encoding="utf-8")
    if (data / BIBLE).exists():
        shutil.copy(data / BIBLE, work / BIBLE)


def few(request: Request, work: Path) -> Request:
    """Train on the first pairs only."""
    [whole] = request.train
    path = whole.paths[0].with_name("few.tsv")
    path.write_text("".join(whole.paths[0].read_text("utf-8").splitlines(keepends=True)[:FEW]), encoding="utf-8")
    return replace(request, train=[corpus(path)])


def with_bible(weights: Sequence[float]) -> Callable[[Request, Path], Request]:
    """Train on Bible verses too, with these weights."""

    def change(request: Request, work: Path) -> Request:
        return _with_weights(few(request, work), corpus(work / BIBLE), weights)

    return change


def with_french(request: Request, work: Path) -> Request:
    """Train a model from German and French into English."""
    request = few(request, work)
    corpora = [*_with_weights(request, corpus(work / "fr-en.tsv"), (2, 1)).train]
    train, _ = in_directions(corpora, [], [("de", "en"), ("fr", "en")])
    _, valid = in_directions(corpora[:1], list(request.valid or ()), [("de", "en")])
    return replace(request, train=train, valid=valid)


def back_translated(tag: str, weights: Sequence[float]) -> Callable[[Request, Path], Request]:
    """Train on English text translated into German too."""

    def change(request: Request, work: Path) -> Request:
        seed = request.out.name.rpartition("-")[2]
        reverse = Translator.load(work / "runs" / f"{REVERSE.replace(', ', '-').replace(' ', '-')}-{seed}")
        path = request.out.with_name(f"{request.out.name}.tsv")
        options = SearchOptions(sampling_topk=10)
        back_translate(reverse, work / "mono.en", path, options, tag=tag, report=print)
        return _with_weights(few(request, work), corpus(path), weights)

    return change


def _with_weights(request: Request, more: Corpus, weights: Sequence[float]) -> Request:
    corpora = [replace(each, weight=weight) for each, weight in zip((*request.train, more), weights, strict=True)]
    return replace(request, train=corpora)
