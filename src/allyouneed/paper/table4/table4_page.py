"""Page of table 4, with published scores for comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from allyouneed.config import SearchConfig
from allyouneed.paper.plots import COLOURS, new_plot
from allyouneed.paper.results_folder import Results, Row, as_table
from allyouneed.paper.table4.evalb import BracketScores, flat, right_branching, score
from allyouneed.paper.table4.rebuilding import Fault, spelled_out
from allyouneed.paper.table4.treebank import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LENGTHS = ((1, 10), (11, 20), (21, 30), (31, 40), (41, None))  # words including punctuation, as in EVALB
_SHORT = 40  # maximum length for EVALB's second score
_BASELINES = {"one flat S": flat, "right-branching": right_branching}  # independent of the words
_EXAMPLE_LENGTHS = range(6, 14)  # words of the sentence whose output the page shows
_SECTION_23 = "WSJ section 23"


class PublishedParser(NamedTuple):
    """A published score.

    Attributes:
        parser: The parser.
        trees: Number of training trees.
        tested: Test set.
        f1: Labelled F1 in percent.
        source: Publication.
    """

    parser: str
    trees: str
    tested: str
    f1: str
    source: str


PUBLISHED = (
    PublishedParser("Transformer, 4 layers", "40,000", _SECTION_23, "91.3", "the paper, table 4"),
    PublishedParser(
        "Transformer, 4 layers",
        "40,000, and 17 million parsed automatically",
        _SECTION_23,
        "92.7",
        "the paper, table 4",
    ),
    PublishedParser(
        "LSTM with attention", "40,000", _SECTION_23, "88.3", "Vinyals et al. 2015, in the paper's table 4"
    ),
    PublishedParser(
        "grammar with latent variables", "40,000", _SECTION_23, "90.4", "Petrov et al. 2006, in the paper's table 4"
    ),
    PublishedParser(
        "recurrent neural network grammar", "40,000", _SECTION_23, "91.7", "Dyer et al. 2016, in the paper's table 4"
    ),
    PublishedParser(
        "Collins' model", "a small seed set", "WSJ", "40 to 80", "Reichart and Rappoport 2007, in the text"
    ),
    PublishedParser(
        "context-free grammar",
        "3,522 of the same sample",
        "another tenth of it, at most 40 words",
        "75.5",
        "coursework, github.com/Adore96/nlp-pos-pcfg-assignment: its own scorer, settings chosen on the test part",
    ),
)


@dataclass(frozen=True)
class ParsedPart:
    """Parses of a part of the treebank.

    Attributes:
        pairs: Gold tree and rebuilt tree of each sentence.
        outputs: Output of each sentence.
        faults: Faults of each output.
        seconds: Time of decoding.
    """

    pairs: list[tuple[Tree, Tree]]
    outputs: list[str]
    faults: list[list[Fault]]
    seconds: float

    @property
    def repaired(self) -> int:
        """Number of outputs with a fault."""
        return sum(map(bool, self.faults))

    def scores(self, labelled: bool = True) -> BracketScores:
        """Score all sentences, with labels or by spans alone."""
        return score(self.pairs, labelled)

    def scores_of(self, shortest: int, longest: int | None) -> BracketScores:
        """Score the sentences of `shortest` to `longest` words."""
        lengths = range(shortest, (longest or 10**6) + 1)
        return score(pair for pair in self.pairs if len(pair[0].leaves()) in lengths)


def write_page(results: Results, search: SearchConfig, dev: Mapping[int, ParsedPart], test: ParsedPart) -> Path:
    """Write the page.

    Args:
        results: Results with the part "training".
        search: Search settings of the test part.
        dev: Parses of dev by beam size, including the beam size of `search`.
        test: Parses of the test part.

    Returns:
        The path of the page.
    """
    training = results.parts["training"]
    parts = {"dev": dev[search.beam_size], "test": test}
    baselines = {f"test, {name}": _baseline(test, make) for name, make in _BASELINES.items()}
    tables = {
        "table4": [_measured_row(training, test), *map(_published_row, PUBLISHED)],
        "scores": [_scores_row(name, part) for name, part in {**parts, **baselines}.items()],
        "beams": [_beam_row(beam, part) for beam, part in dev.items()],
        "lengths": _length_rows(parts),
        "faults": _fault_rows(parts),
    }
    markdown = {name: as_table(rows) for name, rows in tables.items()}
    plot = _plot({**parts, "test, right-branching": baselines["test, right-branching"]})
    return results.finish(_page(training, search, test, markdown), tables, {"lengths": plot})


def _baseline(part: ParsedPart, make: Callable[[Sequence[Tree]], Tree]) -> ParsedPart:
    """Parse the sentences with a baseline."""
    pairs = [(gold, make(gold.leaves())) for gold, _ in part.pairs]
    return ParsedPart(pairs, [], [], 0.0)


def _measured_row(training: Mapping[str, Any], test: ParsedPart) -> Row:
    f1 = f"{test.scores().f1:.1f}"
    trees = f"{training['trees']:,}"
    return {"parser": "this parser", "trees": trees, "tested on": "the test part", "F1": f1, "source": "measured"}


def _published_row(row: PublishedParser) -> Row:
    return {"parser": row.parser, "trees": row.trees, "tested on": row.tested, "F1": row.f1, "source": row.source}


def _scores_row(name: str, part: ParsedPart) -> Row:
    scores = part.scores()
    percentages = {
        "F1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        f"F1, at most {_SHORT} words": part.scores_of(1, _SHORT).f1,
        "F1 without labels": part.scores(labelled=False).f1,
        "exact match %": scores.exact_match,
    }
    rounded = {key: f"{value:.2f}" for key, value in percentages.items()}
    return {"part": name, "sentences": scores.sentences, **rounded, "repaired": part.repaired if part.outputs else None}


def _beam_row(beam: int, part: ParsedPart) -> Row:
    return {
        "beam": beam,
        "dev F1": f"{part.scores().f1:.2f}",
        "repaired": part.repaired,
        "seconds": f"{part.seconds:.0f}",
    }


def _length_rows(parts: Mapping[str, ParsedPart]) -> list[Row]:
    rows: list[Row] = []
    for shortest, longest in _LENGTHS:
        row: dict[str, object] = {"words": _length_range(shortest, longest)}
        for name, part in parts.items():
            scores = part.scores_of(shortest, longest)
            f1 = f"{scores.f1:.1f}" if scores.sentences else None
            row |= {f"{name} sentences": scores.sentences, f"{name} F1": f1}
        rows.append(row)
    return rows


def _length_range(shortest: int, longest: int | None) -> str:
    return f"{shortest} to {longest}" if longest else f"over {shortest - 1}"


def _fault_rows(parts: Mapping[str, ParsedPart]) -> list[Row]:
    """Count outputs by fault; an output may have several."""
    counts = {name: Counter(fault for faults in part.faults for fault in faults) for name, part in parts.items()}
    return [{"fault": str(fault), **{name: count[fault] for name, count in counts.items()}} for fault in Fault]


def _plot(curves: Mapping[str, ParsedPart]) -> Figure:
    """Plot F1 over sentence length, without empty ranges."""
    figure, axes = new_plot("Labelled F1 by sentence length", "words", "F1 (%)")
    for colour, (name, part) in zip(COLOURS, curves.items(), strict=False):
        scores = dict(enumerate(part.scores_of(*lengths) for lengths in _LENGTHS))
        ranges = [i for i, score in scores.items() if score.sentences]
        axes.plot(ranges, [scores[i].f1 for i in ranges], "o-", color=colour, label=name)
    axes.set_xticks(range(len(_LENGTHS)), [_length_range(*lengths) for lengths in _LENGTHS])
    axes.set_ylim(0, 100)
    axes.legend(frameon=False)
    return figure


def _page(training: Mapping[str, Any], search: SearchConfig, test: ParsedPart, tables: Mapping[str, str]) -> str:
    return f"""# Table 4: English constituency parsing

A Transformer reads the words of a sentence and generates the symbols of its tree (Vinyals et al. 2015). It was trained
on {training["trees"]:,} trees for {training["minutes"]:.1f} minutes: {training["steps"]:,} steps,
{training["parameters"] / 1e6:.2f} million parameters. Unlike the paper's parser, it is also trained on the constituents
of those trees as separate sentences: {training["examples"]:,} different examples. Each word is one token; words that
occur at most once in training are replaced by their shape. The vocabulary has {training["tokens"]:,} tokens.
{_split_symbols(training["split symbols"])}
Search: beam {search.beam_size}, α = {search.length_penalty:g}, output at most input + {search.max_extra_length} (the
paper's section 6.3: 21, 0.3, 300).

{tables["table4"]}

Most published parsers were trained on ten times as many trees, and all are tested on other sentences: the table shows
what is possible with few trees, not which parser is better. We know no peer-reviewed score for 2,000 to 5,000 trees.

## Scores
Labelled brackets by EVALB's rules (COLLINS.prm). Repaired outputs are those that were not trees over the words of the
sentence.

{tables["scores"]}

To score with EVALB itself: `evalb -p COLLINS.prm trees/test.gold trees/test-beam-{search.beam_size}.parsed`.

{tables["beams"]}

![F1 by sentence length](lengths.png)

{tables["lengths"]}

## Repaired outputs
An output may have several faults.

{tables["faults"]}

{_example(test)}"""


def _split_symbols(symbols: list[str]) -> str:
    if not symbols:
        return "Each symbol of a tree is one token."
    return f"Symbols that are split into several tokens: {spelled_out(' '.join(symbols))}."


def _example(test: ParsedPart) -> str:
    """Show the symbols of a short sentence; its words are not shown, since the treebank is licensed."""
    for (gold, _), output in zip(test.pairs, test.outputs, strict=True):
        if len(gold.leaves()) in _EXAMPLE_LENGTHS:
            expected, generated = spelled_out(gold.linearized()), spelled_out(output)
            return f"## Example\n```\ngold:   {expected}\nparsed: {generated}\n```"
    return ""
