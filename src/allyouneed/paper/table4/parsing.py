"""Table 4: English constituency parsing (section 6.3), a sentence in, its tree's symbols out.

Trains on a treebank's sentences and linearised trees, and on their constituents as if they were sentences; decodes with
the paper's beam, rebuilds trees from what was said, and scores them by EVALB's rules. The folder holds the treebank's
text: give it only to those who may have that.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from allyouneed.config import SearchConfig, load_recipe
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.files import sha256, write_file
from allyouneed.paper.results import Results
from allyouneed.paper.table4.readable_words import frequent_words, readable
from allyouneed.paper.table4.table4_page import Parsed, write_page
from allyouneed.paper.table4.treebank import Tree, read_trees, rebuild
from allyouneed.progress import print_line, track_progress
from allyouneed.training.log import RunLog
from allyouneed.training.loop import INTERRUPTED
from allyouneed.training.request import Request, assignments_of, requested_device
from allyouneed.training.train import train
from allyouneed.translation.translator import Translator

RECIPE = "parsing"
PARTS = ("train", "dev", "test")
_TRAINING_SHARE = 0.8  # of the minutes; the rest is for decoding with a wide beam
_BEAMS = (1, 4)  # tried on dev, beside the recipe's
_VALIDATING = ("search.beam_size=1", "search.max_extra_length=100")  # while training; the wide beam comes after it
_AT_ONCE = 32  # sentences decoded between two steps of the progress bar


def run_table4(
    treebank: Path, out: Path | None, minutes: float, console: Console, settings: Sequence[str] = ()
) -> Path:
    """Trains, parses and scores, or goes on where the same call stopped. -> the page.

    treebank: a folder with train.mrg, dev.mrg and test.mrg, or .mrg.gz; minutes: of the whole; with `training.steps`
    among the settings, training takes so many steps instead. Errors: `UserError` for a treebank that is missing or
    broken, with file and line, and for all that training refuses; `KeyboardInterrupt` when training was interrupted.
    """
    files = {name: _find(treebank, name) for name in PARTS}
    asked = {"treebank": [f"{path.name} {sha256(path)}" for path in files.values()], "minutes": minutes}
    results = Results.open("table4", out, {**asked, "settings": list(settings)})
    trees = {name: read_trees(path) for name, path in files.items()}
    for name in PARTS:
        print_line(console, f"{files[name]}: {len(trees[name]):,} trees")
    known = frequent_words(trees["train"])
    request = _request(results.folder, _pairs(trees, known), minutes, settings)
    if train(request, console).status == INTERRUPTED:
        raise KeyboardInterrupt
    translator = Translator.load(request.out, choose_device(requested_device(request)))
    search = load_recipe(RECIPE).override(settings).search
    results.part("training", lambda: _training_facts(translator, request.out, trees["train"]))
    sources = {name: [readable(tree.words(), known) for tree in trees[name]] for name in ("dev", "test")}
    beams = sorted({*_BEAMS, search.beam_size})
    dev = {
        beam: _parse(results, translator, "dev", sources["dev"], trees["dev"], _with_beam(search, beam), console)
        for beam in beams
    }
    test = _parse(results, translator, "test", sources["test"], trees["test"], search, console)
    return write_page(results, search, dev, test)


def _find(treebank: Path, name: str) -> Path:
    for path in (treebank / f"{name}.mrg", treebank / f"{name}.mrg.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"{treebank}: there is no {name}.mrg or {name}.mrg.gz. Give a folder with the Penn Treebank's combined trees, "
        f"as {', '.join(f'{part}.mrg' for part in PARTS)}."
    )


def _with_beam(search: SearchConfig, beam: int) -> SearchConfig:
    return search.model_copy(update={"beam_size": beam})


def _pairs(trees: dict[str, list[Tree]], known: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """What is trained on, and what the loss is watched on: words and symbols.

    A constituent of two words or more is an example of its own. Long trees are made of short ones: with the sentences
    alone, so few trees do not teach the decoder to keep count of the words (docs/experiments.md).
    """
    examples = [part for tree in trees["train"] for part in tree.constituents() if len(part.leaves()) > 1]
    examples += [tree for tree in trees["train"] if len(tree.leaves()) == 1]
    pairs = {"train": examples, "dev": trees["dev"]}
    return {name: [(readable(t.words(), known), t.linearized()) for t in chosen] for name, chosen in pairs.items()}


def _request(folder: Path, pairs: dict[str, list[tuple[str, str]]], minutes: float, settings: Sequence[str]) -> Request:
    """What is to be trained, on files written here: words, a tab, symbols."""
    files = {name: folder / "text" / f"{name}.tsv" for name in pairs}
    for name, path in files.items():
        write_file(path, "".join(f"{words}\t{symbols}\n" for words, symbols in pairs[name]))
    budget = [] if assignments_of(settings, "training.steps") else [f"training.minutes={_TRAINING_SHARE * minutes:g}"]
    given = [*budget, *settings, *_VALIDATING]
    return Request([files["train"]], [files["dev"]], folder / "run", ("en", "tree"), RECIPE, given)


def _training_facts(translator: Translator, run: Path, trees: Sequence[Tree]) -> dict[str, Any]:
    bundle = translator.bundle
    symbols = sorted({symbol for tree in trees for symbol in tree.linearized().split()})
    records = RunLog(run, Console(quiet=True)).records()
    return {
        "trees": len(trees),
        "examples": bundle.notes["training pairs"],
        "steps": bundle.notes["steps"],
        "minutes": max(record.get("seconds", 0.0) for record in records) / 60,
        "parameters": bundle.model.num_parameters(),
        "tokens": len(bundle.tokenizer),
        "split symbols": [symbol for symbol in symbols if len(bundle.tokenizer.encode(symbol)) != 1],
    }


def _parse(
    results: Results,
    translator: Translator,
    name: str,
    sources: Sequence[str],
    trees: Sequence[Tree],
    search: SearchConfig,
    console: Console,
) -> Parsed:
    """Decodes, or takes what an earlier call decoded, and rebuilds. The trees go to files that EVALB can read."""
    what = f"{name}, beam {search.beam_size}"
    said = results.part(what, lambda: _decode(translator, sources, search, what, console))
    rebuilt = [rebuild(output, tree.leaves()) for output, tree in zip(said["outputs"], trees, strict=True)]
    pairs = [(tree, ours.tree) for tree, ours in zip(trees, rebuilt, strict=True)]
    parsed = Parsed(pairs, said["outputs"], [ours.faults for ours in rebuilt], said["seconds"])
    print_line(console, f"{what}: F1 {parsed.scores().f1:.2f} in {parsed.seconds:.0f} s")
    for file, side in ((f"{name}.gold", 0), (f"{name}-beam-{search.beam_size}.parsed", 1)):
        write_file(results.folder / "trees" / file, "".join(f"(TOP {pair[side]})\n" for pair in pairs))
    return parsed


def _decode(
    translator: Translator, sentences: Sequence[str], search: SearchConfig, what: str, console: Console
) -> dict[str, Any]:
    """Longest first, so that the time that is left is known early on."""
    outputs = [""] * len(sentences)
    begun = time.perf_counter()
    done = 0
    with track_progress(console, f"parsing {what}") as told:
        for places in _batches(sentences):
            found = translator.translate(
                [sentences[place] for place in places],
                beam_size=search.beam_size,
                length_penalty=search.length_penalty,
                max_extra_length=search.max_extra_length,
                batch_tokens=search.batch_tokens,
            )
            for place, translation in zip(places, found, strict=True):
                outputs[place] = translation.text
            done += len(places)
            told(done, len(sentences))
    return {"outputs": outputs, "seconds": time.perf_counter() - begun}


def _batches(sentences: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(sentences)), key=lambda place: -len(sentences[place]))
    for start in range(0, len(order), _AT_ONCE):
        yield order[start : start + _AT_ONCE]
