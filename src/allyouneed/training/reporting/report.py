"""The report of a training run: `report.html`, a self-contained page whose curves need no script."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from string import Template
from typing import Any

from allyouneed.files import write_file
from allyouneed.seals import seal_page
from allyouneed.training.reporting.corpus_section import corpus_section, definitions, table
from allyouneed.training.reporting.curves import (
    CurvePoint,
    Html,
    Series,
    chart,
    is_number,
    join,
    markup,
    show,
    show_time,
)
from allyouneed.training.validation import perplexity, show_perplexity

_SHOWN_SKIPS = 10  # skipped steps that are listed


def write_report(
    path: Path,
    *,
    title: str,
    log: list[dict[str, Any]],
    corpus: dict[str, Any],
    settings: dict[str, Any],
    scores: dict[str, Any],
    status: str,
    metric: str = "bleu",
    is_text: bool = False,
) -> None:
    """Write the page atomically.

    Args:
        path: The file.
        title: Heading of the page.
        log: Records of `log.jsonl`, in order.
        corpus: Statistics of the parts of the corpus, by name.
        settings: Settings by section and name.
        scores: Scores by name of the test set, and notes by name.
        status: How the run ended.
        is_text: Whether the report is on text alone, without a training.
        metric: The metric of quality, whose score is shown first: "bleu", "chrf" or "loss".

    Raises:
        UserError: If the file cannot be written.
    """
    run = _without_repeats(log)
    page = Template(files(__package__).joinpath("report_template.html").read_text("utf-8")).substitute(
        title=join(title),
        kind="text" if is_text else "training",
        status=join(status),
        events=_event_line(log),
        headline=_headline(run, scores, metric),
        curves=_charts(run),
        samples=_sample_cards([record for record in run if record.get("samples")]),
        scores=_score_table(scores),
        corpus=corpus_section(corpus, _events(log, "forecast")),
        settings=_setting_tables(settings, log),
    )
    write_file(path, seal_page(page.encode("utf-8", "replace")))  # JSON may contain lone surrogates


# The log


def _without_repeats(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the log without repeated steps: a resume at a step drops the earlier records after it."""
    run: list[dict[str, Any]] = []
    for record in log:
        if record.get("event") == "resume":
            run = [old for old in run if old.get("step", 0) <= record["step"]]
        run.append(record)
    return run


def _events(log: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [record for record in log if record.get("event") in names]


def _points(run: list[dict[str, Any]], event: str, key: str) -> list[CurvePoint]:
    """Return a curve; a logged value of None was not finite."""
    values = [(record, record[key]) for record in _events(run, event) if key in record]
    return [CurvePoint(of["step"], of["seconds"], math.nan if value is None else value) for of, value in values]


def _clock(run: list[dict[str, Any]]) -> list[CurvePoint]:
    """Return the steps with the time at which they were reached, starting with step 0."""
    return sorted([CurvePoint(0, 0.0, 0), *_points(run, "train", "step"), *_points(run, "validation", "step")])


def _event_line(log: list[dict[str, Any]]) -> Html:
    names = {"stop": "stopped", "resume": "resumed", "diverged": "diverged", "not_learned": "nothing learned"}
    names |= {"recovered": "recovered"}
    parts = [
        f"{names[record['event']]} at step {show(record['step'])}"
        + (f" ({record['why']})" if "why" in record else "")
        + (f": {record['remedy']}" if "remedy" in record else "")
        for record in _events(log, *names)
    ]
    skipped = [show(record["step"]) for record in _events(log, "skipped")]
    if skipped:
        steps = f"{', '.join(map(str, skipped[:_SHOWN_SKIPS]))}{' …' if len(skipped) > _SHOWN_SKIPS else ''}"
        parts.append(f"{len(skipped)} updates skipped, because the loss or the gradient was not finite: step {steps}")
    return markup("p", " · ".join(parts), class_="soft")


def _headline(run: list[dict[str, Any]], scores: dict[str, Any], metric: str) -> Html:
    """Make the tiles at the top; final and logged scores are separate, since search or test set may differ."""
    final = [(name, of) for name, of in scores.items() if isinstance(of, dict)]
    planned = [f"of {show(plan['steps'])} planned" for plan in _events(run, "plan") if "steps" in plan]
    speeds = [point.value for point in _points(run, "train", "tokens_per_second") if is_number(point.value)]
    last = _clock(run)[-1]
    tiles = [
        *(_final_tile(name, of, each) for name, of in final for each in dict.fromkeys((metric, "bleu"))),
        _best_tile("Best BLEU", "while training", _points(run, "validation", "bleu"), max),
        _best_tile("Best chrF", "while training", _points(run, "validation", "chrf"), max) if metric == "chrf" else "",
        _best_tile("Best perplexity", "validation", _points(run, "validation", "perplexity"), min),
        _tile("Steps", show(last.step), "".join(planned[-1:])),
        _tile("Training time", show_time(last.seconds)),
        _tile("Speed", show(round(statistics.median(speeds))), "target tokens per second, median") if speeds else "",
    ]
    return join(*tiles)


def _tile(label: str, value: object, note: str = "") -> Html:
    return markup("div", markup("small", label), markup("b", value), markup("small", note), class_="tile")


def _final_tile(name: str, scores: dict[str, Any], metric: str) -> Html:
    if not is_number(scores.get(metric)):
        return Html("")
    if metric == "loss":
        return _tile(f"Perplexity, {name}", show_perplexity(perplexity(scores["loss"])), f"loss {scores['loss']:.3f}")
    title = {"bleu": "BLEU", "chrf": "chrF"}[metric]
    return _tile(f"{title}, {name}", f"{scores[metric]:.1f}", scores.get(f"{metric}_signature", ""))


def _best_tile(label: str, where: str, curve: list[CurvePoint], best: Callable[..., CurvePoint]) -> Html:
    values = [point for point in curve if is_number(point.value)]
    if not values:
        return Html("")
    top = best(values, key=lambda point: point.value)
    last = show_perplexity(curve[-1].value) if is_number(curve[-1].value) else "not finite"
    return _tile(label, show_perplexity(top.value), f"{where}, step {show(top.step)}; last {last}")


# Curves


def _charts(run: list[dict[str, Any]]) -> Html:
    def series(name: str, hue: str, event: str, key: str) -> Series:
        return Series(name, hue, _points(run, event, key))

    loss = [series("training", "a", "train", "loss"), series("validation", "b", "validation", "loss")]
    quality = [series("BLEU", "b", "validation", "bleu"), series("chrF", "a", "validation", "chrf")]
    rate, speed = series("rate", "a", "train", "learning_rate"), series("speed", "a", "train", "tokens_per_second")
    when = _clock(run), sorted({record["step"] for record in _events(run, "resume")})
    loss_unit = "nats per target token; label smoothing in training only"
    return join(
        chart("Loss", loss_unit, loss, *when, from_zero=False),
        chart(
            "Validation BLEU and chrF",
            f"while training: greedy, sacreBLEU {_tokenizer(run)}",
            quality,
            *when,
            timed=True,
        ),
        chart("Learning rate", "", [rate], *when),
        chart("Speed", "target tokens per second", [speed], *when),
    )


def _tokenizer(run: list[dict[str, Any]]) -> str:
    """Return the tokenizer in the last signature; logs of earlier versions have none, and their BLEU is 13a's."""
    signatures = [record["bleu_signature"] for record in run if "bleu_signature" in record]
    found = re.search(r"tok:([^|]+)", signatures[-1]) if signatures else None
    return found[1] if found else "13a"


# Samples, scores, corpus, settings


def _sample_cards(validations: list[dict[str, Any]]) -> Html:
    """Show the samples of the last validation, each with its earlier translations."""
    return join(*(_sample_card(sample, validations[:-1]) for last in validations[-1:] for sample in last["samples"]))


def _sample_card(sample: dict[str, Any], earlier: list[dict[str, Any]]) -> Html:
    versions = [
        (f"step {show(validation['step'])}", old["hypothesis"])
        for validation in earlier
        for old in validation["samples"]
        if old["source"] == sample["source"]
    ]
    changes = [next(same) for _, same in groupby(versions, itemgetter(1))]
    history = markup("details", markup("summary", f"earlier versions: {len(changes)}"), definitions(changes))
    parts = definitions([(name, sample[name]) for name in ("source", "reference", "hypothesis")])
    return markup("div", parts, history if changes else "", class_="sample")


def _score_table(scores: dict[str, Any]) -> Html:
    """Make a table with one row per score and its signature; other entries of `scores` follow as notes."""
    rows, notes = [], []
    for name, value in scores.items():
        if isinstance(value, dict):
            keys = [key for key in value if not key.endswith("_signature")]
            rows += [[f"{name}, {key}", _one_decimal(value[key]), value.get(f"{key}_signature", "")] for key in keys]
        else:
            notes.append(markup("p", f"{name}: {show(value)}"))
    return join(table(rows, ["Score", "", "Signature"]), *notes)


def _one_decimal(value: object) -> object:
    return f"{value:.1f}" if isinstance(value, float) else value


def _setting_tables(settings: dict[str, Any], log: list[dict[str, Any]]) -> Html:
    """Make one table per section, with values as in a recipe, and one for the last plan."""
    plans = [{key: value for key, value in plan.items() if key != "event"} for plan in _events(log, "plan")]
    tables = []
    for name, section in [*settings.items(), *(("plan", plan) for plan in plans[-1:])]:
        rows = [[key, markup("code", json.dumps(value, ensure_ascii=False))] for key, value in section.items()]
        tables.append(markup("div", markup("h3", name), table(rows)))
    return join(*tables)
