"""Cleaning of a corpus without training: a report, and the cleaned text on request.

With a translation model, the least likely pairs are dropped too, see `likelihood.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from allyouneed.config import Config
from allyouneed.data.cleaning.listing import open_listing
from allyouneed.data.cleaning.registry import chosen_checks
from allyouneed.data.corpora import Corpus, directions_of, located, total, with_copies
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.files.formats import reading_notes
from allyouneed.data.inspection.inspect_text import inspect_text
from allyouneed.data.workers import Workers, usable_cores
from allyouneed.files import check_new_folder, new_folder
from allyouneed.languages import describe_language, language_code
from allyouneed.progress import RateLines
from allyouneed.training.cleaner import Cleaner, check_function, cleaned_name
from allyouneed.training.likelihood import scorers
from allyouneed.training.reporting.report import write_report

DROPPED, REPAIRED, REPORT = "dropped.tsv", "repaired.tsv", "report.html"
_OF_TOKENS = ("source_tokens", "target_tokens", "longest_source")
_MANY_PAIRS = 20_000  # from which worker processes are faster than one process


@dataclass(frozen=True)
class CleaningRequest:
    """What to clean, and how.

    Attributes:
        corpora: The text; of a multilingual model, with the direction of each corpus (see `in_directions`).
        languages: Source and target language: codes or names; of several directions, those of the first.
        out: Folder for the cleaned text, the lists and the report; None to show the report alone.
        settings: Overrides `SECTION.NAME=VALUE`; `data.cleaning` is `web` by default.
        model: RUN or bundle that translates in the direction of the corpus, or in all directions.
        backward_model: RUN or bundle of the opposite direction.
        least_likely: Percent of the remaining pairs that are dropped as the least likely, with a model.
    """

    corpora: Sequence[Corpus]
    languages: tuple[str, str]
    out: Path | None = None
    settings: Sequence[str] = ()
    model: Path | None = None
    backward_model: Path | None = None
    least_likely: float = 5.0


def clean(request: CleaningRequest, say: Callable[[str], None]) -> CorpusReport:
    """Clean corpora and report on them, on all cores; the result does not depend on their number.

    Args:
        request: What to clean, and how.
        say: Receives progress messages and the report.

    Returns:
        The statistics of all corpora.

    Raises:
        UserError: If a file cannot be read or written, a setting or a language is invalid, or a model is of another
            direction.
    """
    languages = language_code(request.languages[0]), language_code(request.languages[1])
    directions = directions_of(request.corpora) or (languages,)
    data = Config().override(["data.cleaning=web", "data.faults=warn", *request.settings]).data
    chosen_checks(data.cleaning)
    scores = scorers(request.model, request.backward_model, directions)
    with ExitStack() as stack:
        if request.out is None:
            folder = Path(stack.enter_context(TemporaryDirectory()))
        else:
            check_new_folder(request.out)
            folder = stack.enter_context(new_folder(request.out))
        corpora = located(request.corpora, data.columns, languages)
        for note in dict.fromkeys(note for each in corpora for note in reading_notes(each.paths, each.columns)):
            say(note)
        corpora, counts = with_copies(corpora, folder, say)
        inspection = inspect_text(corpora, (), counts, data, languages)
        listing = stack.enter_context(open_listing(folder / DROPPED, folder / REPAIRED))
        cleaner = Cleaner(folder, directions, listing, scores, "duplicates" in inspection.rules[0].checks)
        progress = RateLines(say, "cleaning the text", sum(counts), "pairs")
        with cleaner.writing():
            for corpus, rules, count in zip(corpora, inspection.rules, counts, strict=True):
                with Workers(check_function(corpus, rules), usable_cores() if count >= _MANY_PAIRS else 1) as workers:
                    cleaner.add(corpus, progress.counted(corpus.pairs()), workers.map)
        if scores:
            cleaner.drop_least_likely(request.least_likely)
        for report, findings in zip(cleaner.reports, inspection.train, strict=True):
            report.findings = [finding.as_dict() for finding in findings]
            for line in report.lines():
                say(line)
        whole = total(cleaner.reports)
        if request.out is not None:
            title = ", ".join(" → ".join(map(describe_language, direction)) for direction in directions)
            _write_page(folder / REPORT, title, cleaner.reports, whole)
    if request.out is not None:
        texts = ", ".join(str(request.out / cleaned_name(direction, directions)) for direction in directions)
        say(f"cleaned text: {texts}\nreport: {request.out / REPORT}")
    return whole


def _write_page(path: Path, title: str, reports: list[CorpusReport], whole: CorpusReport) -> None:
    several = {f"train {number}": _facts(each) for number, each in enumerate(reports, 1)} if len(reports) > 1 else {}
    corpus = {**several, "train in all" if several else "train": _facts(whole)}
    write_report(path, title=title, log=[], corpus=corpus, settings={}, scores={}, status="cleaned", is_text=True)


def _facts(report: CorpusReport) -> dict[str, Any]:
    """Return what a report has without tokens, of which nothing is known before there is a tokenizer."""
    return {name: value for name, value in report.as_dict().items() if name not in _OF_TOKENS}
