"""Table 4 as printed, and the page that sets ours beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from allyouneed.config import SearchConfig
from allyouneed.paper.plots import COLOURS, new_plot
from allyouneed.paper.results import Results, Row, as_table
from allyouneed.paper.table4.evalb import Scores, flat, right_branching, score
from allyouneed.paper.table4.treebank import Fault, Tree, spelled_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LENGTHS = ((1, 10), (11, 20), (21, 30), (31, 40), (41, None))  # words, punctuation counted, as EVALB counts
_SHORT = 40  # words of EVALB's own second score
_BASELINES = {"one flat S": flat, "right-branching": right_branching}  # know nothing of the words
_SHOWN = range(6, 14)  # words of the sentence whose output the page shows


_SECTION_23 = "WSJ section 23"


class Published(NamedTuple):
    """Labelled F1, what on, and the number of trees trained on."""

    parser: str
    trees: str
    tested: str
    f1: str
    source: str


PUBLISHED = (
    Published("Transformer, 4 layers", "40,000", _SECTION_23, "91.3", "the paper, table 4"),
    Published("the same", "40,000, and 17 million by other parsers", _SECTION_23, "92.7", "the paper, table 4"),
    Published("LSTM with attention", "40,000", _SECTION_23, "88.3", "Vinyals et al. 2015, in the paper's table 4"),
    Published("grammar with latent variables", "40,000", _SECTION_23, "90.4", "Petrov et al. 2006, the same"),
    Published("recurrent neural network grammar", "40,000", _SECTION_23, "91.7", "Dyer et al. 2016, the same"),
    Published("Collins' model", "a small seed", "WSJ", "40 to 80", "Reichart and Rappoport 2007, in words"),
    Published(
        "context-free grammar",
        "3,522 of the same sample",
        "another tenth of it, at most 40 words",
        "75.5",
        "coursework, github.com/Adore96/nlp-pos-pcfg-assignment: own scorer, settings chosen on the test part",
    ),
)


@dataclass(frozen=True)
class Parsed:
    """A part of the treebank, parsed: (gold, rebuilt) trees; of each output what was said, and its faults."""

    pairs: list[tuple[Tree, Tree]]
    outputs: list[str]
    faults: list[list[Fault]]
    seconds: float

    @property
    def mended(self) -> int:
        """How many outputs had any fault."""
        return sum(map(bool, self.faults))

    def scores(self, labelled: bool = True) -> Scores:
        """Of all sentences; without labels a span alone has to be right."""
        return score(self.pairs, labelled)

    def scores_of(self, shortest: int, longest: int | None) -> Scores:
        """Of the sentences of so many words."""
        lengths = range(shortest, (longest or 10**6) + 1)
        return score(pair for pair in self.pairs if len(pair[0].leaves()) in lengths)


def write_page(results: Results, search: SearchConfig, dev: Mapping[int, Parsed], test: Parsed) -> Path:
    """Sets our scores beside the published. dev: parsed with several beams, the recipe's among them. -> the page."""
    facts = results.parts["training"]
    ours = {"dev": dev[search.beam_size], "test": test}
    baselines = {f"test, {name}": _with(test, make) for name, make in _BASELINES.items()}
    tables = {
        "table4": [_first_row(facts, test), *map(_published_row, PUBLISHED)],
        "scores": [_scores_row(name, part) for name, part in {**ours, **baselines}.items()],
        "beams": [_beam_row(beam, part) for beam, part in dev.items()],
        "lengths": _length_rows(ours),
        "faults": _fault_rows(ours),
    }
    shown = {name: as_table(rows) for name, rows in tables.items()}
    plot = _plot({**ours, "test, right-branching": baselines["test, right-branching"]})
    return results.finish(_page(facts, search, test, shown), tables, {"lengths": plot})


def _with(part: Parsed, make: Callable[[Sequence[Tree]], Tree]) -> Parsed:
    """The same sentences, parsed by a baseline."""
    pairs = [(gold, make(gold.leaves())) for gold, _ in part.pairs]
    return Parsed(pairs, [], [], 0.0)


def _first_row(facts: Mapping[str, Any], test: Parsed) -> Row:
    f1 = f"{test.scores().f1:.1f}"
    trees = f"{facts['trees']:,}"
    return {"parser": "ours", "trees": trees, "tested on": "the test part", "F1": f1, "source": "measured here"}


def _published_row(row: Published) -> Row:
    return {"parser": row.parser, "trees": row.trees, "tested on": row.tested, "F1": row.f1, "source": row.source}


def _scores_row(name: str, part: Parsed) -> Row:
    scores = part.scores()
    figures = {
        "F1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        f"F1, at most {_SHORT} words": part.scores_of(1, _SHORT).f1,
        "F1 without labels": part.scores(labelled=False).f1,
        "exact match %": scores.exact_match,
    }
    rounded = {key: f"{value:.2f}" for key, value in figures.items()}
    return {"part": name, "sentences": scores.sentences, **rounded, "mended": part.mended if part.outputs else None}


def _beam_row(beam: int, part: Parsed) -> Row:
    return {"beam": beam, "dev F1": f"{part.scores().f1:.2f}", "mended": part.mended, "seconds": f"{part.seconds:.0f}"}


def _length_rows(ours: Mapping[str, Parsed]) -> list[Row]:
    rows: list[Row] = []
    for shortest, longest in _LENGTHS:
        row: dict[str, object] = {"words": _words(shortest, longest)}
        for name, part in ours.items():
            scores = part.scores_of(shortest, longest)
            f1 = f"{scores.f1:.1f}" if scores.sentences else None
            row |= {f"{name} sentences": scores.sentences, f"{name} F1": f1}
        rows.append(row)
    return rows


def _words(shortest: int, longest: int | None) -> str:
    return f"{shortest} to {longest}" if longest else f"over {shortest - 1}"


def _fault_rows(ours: Mapping[str, Parsed]) -> list[Row]:
    """How many outputs have each fault; one may have several."""
    counts = {name: Counter(fault for faults in part.faults for fault in faults) for name, part in ours.items()}
    return [{"fault": str(fault), **{name: count[fault] for name, count in counts.items()}} for fault in Fault]


def _plot(curves: Mapping[str, Parsed]) -> Figure:
    """F1 over the classes of length that have sentences."""
    figure, axes = new_plot("Labelled F1 by the length of the sentence", "words", "F1")
    for colour, (name, part) in zip(COLOURS, curves.items(), strict=False):
        scores = dict(enumerate(part.scores_of(*lengths) for lengths in _LENGTHS))
        places = [place for place, score in scores.items() if score.sentences]
        axes.plot(places, [scores[place].f1 for place in places], "o-", color=colour, label=name)
    axes.set_xticks(range(len(_LENGTHS)), [_words(*lengths) for lengths in _LENGTHS])
    axes.set_ylim(0, 100)
    axes.legend(frameon=False)
    return figure


def _page(facts: Mapping[str, Any], search: SearchConfig, test: Parsed, tables: Mapping[str, str]) -> str:
    return f"""# Table 4: English constituency parsing

A sentence is read as words, and its tree written as symbols (Vinyals et al. 2015), by a Transformer that was trained on
{facts["trees"]:,} trees for {facts["minutes"]:.1f} minutes: {facts["steps"]:,} steps, {facts["parameters"] / 1e6:.2f}
million parameters. Unlike the paper's, it learns from the constituents of those trees as if they were sentences, too:
{facts["examples"]:,} different examples. A token is a word, or the shape of one that training had once or never;
{facts["tokens"]:,} tokens. {_split(facts["split symbols"])}
Search: beam {search.beam_size}, α = {search.length_penalty:g}, output at most input + {search.max_extra_length} (the
paper's section 6.3: 21, 0.3, 300).

{tables["table4"]}

Published parsers have mostly seen ten times as many trees, and all are tested on other sentences: this tells how far so
few trees go, not which parser is better. Of 2,000 to 5,000 trees we know no peer-reviewed figure at first hand.

## Scores
Labelled brackets by EVALB's rules (COLLINS.prm). "Mended" are outputs that were no tree over the sentence's words.

{tables["scores"]}

The same with EVALB itself: `evalb -p COLLINS.prm trees/test.gold trees/test-beam-{search.beam_size}.parsed`.

{tables["beams"]}

![F1 by the length of the sentence](lengths.png)

{tables["lengths"]}

## Outputs that were mended
One output may have several faults.

{tables["faults"]}

{_example(test)}"""


def _split(symbols: list[str]) -> str:
    if not symbols:
        return "Each symbol of a tree is one token."
    return f"Symbols of several tokens: {spelled_out(' '.join(symbols))}."


def _example(test: Parsed) -> str:
    """The first short sentence's symbols, gold and ours; the words themselves are the treebank's owner's."""
    for (gold, _), output in zip(test.pairs, test.outputs, strict=True):
        if len(gold.leaves()) in _SHOWN:
            right, said = spelled_out(gold.linearized()), spelled_out(output)
            return f"## One of them\n```\ngold: {right}\nours: {said}\n```"
    return ""
