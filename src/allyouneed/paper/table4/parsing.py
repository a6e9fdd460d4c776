"""`allyouneed paper table4`: English constituency parsing (section 6.3), from a sentence to its tree's symbols.

Trains on a treebank's sentences and linearised trees, and on their constituents as further examples; decodes with the
paper's beam, rebuilds trees from the outputs, and scores them by EVALB's rules. The folder of results contains text of
the treebank: share it only with people who may have the treebank.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from allyouneed.config import SearchConfig, load_recipe
from allyouneed.data.corpora import corpus
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.files import sha256, write_file
from allyouneed.paper.results_folder import Results
from allyouneed.paper.table4.parser_input import frequent_words, parser_input
from allyouneed.paper.table4.rebuilding import rebuild
from allyouneed.paper.table4.table4_page import ParsedPart, write_page
from allyouneed.paper.table4.treebank import Tree, read_trees
from allyouneed.progress import print_line, track_progress
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.request import Request, assignments_of, requested_device
from allyouneed.training.train import train
from allyouneed.translation.translator import Translator

RECIPE = "parsing"
PARTS = ("train", "dev", "test")
_TRAINING_SHARE = 0.8  # of the minutes; the rest is for decoding with a large beam
_DEV_BEAMS = (1, 4)  # beam sizes for dev, in addition to the recipe's
_VALIDATION_SEARCH = ("search.beam_size=1", "search.max_extra_length=100")  # during training
_BATCH_SENTENCES = 32  # sentences per update of the progress bar


def run_table4(
    treebank: Path, out: Path | None, minutes: float, console: Console, settings: Sequence[str] = ()
) -> Path:
    """Train a parser, parse the treebank and score the parses, or resume an interrupted call.

    Args:
        treebank: A folder with train.mrg, dev.mrg and test.mrg, or .mrg.gz.
        out: Folder of the results, see `Results.open`.
        minutes: Approximate total time; the training takes `training.steps` steps instead if that setting is given.
        console: Receives progress.
        settings: Overrides `SECTION.NAME=VALUE`.

    Returns:
        The path of the page.

    Raises:
        UserError: If the treebank is missing or invalid, or training rejects the settings.
        KeyboardInterrupt: If the training was interrupted.
    """
    files = {name: _find(treebank, name) for name in PARTS}
    identified = {"treebank": [f"{path.name} {sha256(path)}" for path in files.values()], "minutes": minutes}
    results = Results.open("table4", out, {**identified, "settings": list(settings)})
    trees = {name: read_trees(path) for name, path in files.items()}
    for name in PARTS:
        print_line(console, f"{files[name]}: {len(trees[name]):,} trees")
    known = frequent_words(trees["train"])
    request = _request(results.folder, _pairs(trees, known), minutes, settings)
    train(request, console).raise_if_interrupted()
    translator = Translator.load(request.out, choose_device(requested_device(request)))
    search = load_recipe(RECIPE).override(settings).search
    results.part("training", lambda: _training_facts(translator, request.out, trees["train"]))
    sources = {name: [parser_input(tree.words(), known) for tree in trees[name]] for name in ("dev", "test")}
    beams = sorted({*_DEV_BEAMS, search.beam_size})
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
        f"{treebank}: no {name}.mrg or {name}.mrg.gz found. Give a folder with combined Penn Treebank trees: "
        f"{', '.join(f'{part}.mrg' for part in PARTS)}."
    )


def _with_beam(search: SearchConfig, beam: int) -> SearchConfig:
    return search.model_copy(update={"beam_size": beam})


def _pairs(trees: dict[str, list[Tree]], known: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """Make training and validation pairs of words and symbols.

    Constituents of two words or more are separate examples: trained on sentences alone, with so few trees, the decoder
    does not learn to count words (docs/experiments.md).
    """
    examples = [part for tree in trees["train"] for part in tree.constituents() if len(part.leaves()) > 1]
    examples += [tree for tree in trees["train"] if len(tree.leaves()) == 1]
    pairs = {"train": examples, "dev": trees["dev"]}
    return {name: [(parser_input(t.words(), known), t.linearized()) for t in part] for name, part in pairs.items()}


def _request(folder: Path, pairs: dict[str, list[tuple[str, str]]], minutes: float, settings: Sequence[str]) -> Request:
    """Write the pairs as TSV files, and make the request for training on them."""
    files = {name: folder / "text" / f"{name}.tsv" for name in pairs}
    for name, path in files.items():
        write_file(path, "".join(f"{words}\t{symbols}\n" for words, symbols in pairs[name]))
    budget = [] if assignments_of(settings, "training.steps") else [f"training.minutes={_TRAINING_SHARE * minutes:g}"]
    all_settings = [*budget, *settings, *_VALIDATION_SEARCH]
    return Request(
        [corpus(files["train"])], [corpus(files["dev"])], folder / "run", ("en", "x-tree"), RECIPE, all_settings
    )


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
) -> ParsedPart:
    """Decode, or read the outputs of an earlier call, rebuild trees, and write them to files that EVALB reads."""
    key = f"{name}, beam {search.beam_size}"
    decoded = results.part(key, lambda: _decode(translator, sources, search, key, console))
    rebuilt = [rebuild(output, tree.leaves()) for output, tree in zip(decoded["outputs"], trees, strict=True)]
    pairs = [(gold, parsed.tree) for gold, parsed in zip(trees, rebuilt, strict=True)]
    part = ParsedPart(pairs, decoded["outputs"], [parsed.faults for parsed in rebuilt], decoded["seconds"])
    print_line(console, f"{key}: F1 {part.scores().f1:.2f} in {part.seconds:.0f} s")
    for file, side in ((f"{name}.gold", 0), (f"{name}-beam-{search.beam_size}.parsed", 1)):
        write_file(results.folder / "trees" / file, "".join(f"(TOP {pair[side]})\n" for pair in pairs))
    return part


def _decode(
    translator: Translator, sentences: Sequence[str], search: SearchConfig, key: str, console: Console
) -> dict[str, Any]:
    """Decode in descending order of length, for a reliable estimate of the remaining time."""
    outputs = [""] * len(sentences)
    start, done = time.perf_counter(), 0
    with track_progress(console, f"parsing {key}") as report:
        for indices in _batches(sentences):
            translations = translator.translate(
                [sentences[i] for i in indices],
                beam_size=search.beam_size,
                length_penalty=search.length_penalty,
                max_extra_length=search.max_extra_length,
                batch_tokens=search.batch_tokens,
                repetition_guard=False,  # trees repeat brackets
            )
            for i, translation in zip(indices, translations, strict=True):
                outputs[i] = translation.text
            done += len(indices)
            report(done, len(sentences))
    return {"outputs": outputs, "seconds": time.perf_counter() - start}


def _batches(sentences: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    for start in range(0, len(order), _BATCH_SENTENCES):
        yield order[start : start + _BATCH_SENTENCES]
