"""Data of the film: every head over the snapshots that `training.keep_snapshots` keeps during training.

format, model, text, translation, languages, source, target   as in `explorer.py`; every snapshot is run on this pair
given           whether the translation was given by the user instead of the finished model
run             planned: steps of the plan or null; finished: whether training has finished; origin: what the weights of
                step 0 are ("random", "start": those of --start-from, "teacher": layers of a teacher); start: its name
                or null
pairs           number of sentence pairs that the statistics are measured on
corpus          their text: "validation" or the name of the file of --test
aligner         name of the reference alignment for AER
frames          one object per snapshot, in the order of steps: step; weights: null for the weights as trained, or the
                bundle's description such as "average of steps ..."; loss: nats per target token over the pairs; log_p:
                log probability of the translation; predictions {given, top} as in `variant.predictions`; translation:
                the snapshot's own; attention {encoder, decoder, cross} [layer, head, query, key]
heads           one row per head: kind, layer, head (from 0), and for each of `heads.MEASURES` and aer a list with a
                value or null per frame
chance          {kind: {measure: value}} of uniform attention, the same measures; loss: that of uniform predictions
least           minimum score of a role
roles           `emergence.Emergence` as objects, also those below `least`
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field

from allyouneed.bundle import Bundle, build_model, load_weights
from allyouneed.data.prepared import PreparedData
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.files import read_sealed
from allyouneed.insight.coding import pack_weights
from allyouneed.insight.explorer import FORMAT, MAX_TOKENS, model_facts, side_data
from allyouneed.insight.statistics.aligner import Links, align_words, links_of_pairs
from allyouneed.insight.statistics.corpus_heads import BUILT_IN_ALIGNER, SENTENCES, read_pairs_of, usable_pair
from allyouneed.insight.statistics.emergence import LEAST, ROLES, chance_alignment, emergences, role_score
from allyouneed.insight.statistics.heads import MEASURES, head_row, mean_loss, measure_heads
from allyouneed.insight.variants.switches import Switches, all_heads
from allyouneed.insight.variants.variant import TokenPair, predictions, run_pair, weights_of
from allyouneed.insight.words import Sentence
from allyouneed.model.probe import KINDS
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.translation.translator import Translator

MEASURED = 200  # sentence pairs that each snapshot is measured on
BUDGET = 1_550_000  # bytes of attention on the page; the rest of 2 MB is for script, style and statistics
_LENGTHS = range(8, 17)  # tokens of a side of the sentence that is chosen if none is given


class FilmCorpus(NamedTuple):
    """Text that the snapshots are measured on.

    Attributes:
        name: "validation" or a file name.
        pairs: Sentence pairs.
        gold: Reference alignment of each pair.
        aligner: Name of the reference alignment.
    """

    name: str
    pairs: list[tuple[Sentence, Sentence]]
    gold: list[Links]
    aligner: str


def film_data(
    translator: Translator,
    run: Path,
    text: str = "",
    translation: str | None = None,
    test: Sequence[Path] = (),
    alignments: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure all heads in every snapshot of a run.

    Args:
        translator: Translator of the run.
        run: Folder of the run.
        text: Sentence in the source language; "" for a short one from the validation text.
        translation: Translation that is fed to the decoder of every snapshot; None for the finished model's.
        test: Files of a corpus to measure; empty for the run's validation text.
        alignments: Reference alignments of `test`; None for the built-in aligner.
        on_progress: Called with the number of finished snapshots and their total.

    Returns:
        The object described above, with attention as float32 arrays.

    Raises:
        UserError: If no snapshots were kept, a file is missing or damaged, or the sentence is too long.
    """
    kept = Snapshots(run / KEPT)
    if not kept.steps():
        raise UserError(
            f"{run}: no snapshots were kept during training. Add --set training.keep_snapshots=20 to the training of a "
            "new run."
        )
    corpus = _corpus(translator, run, test, alignments)
    text = text.strip() or _short_sentence(translator, corpus.pairs)
    target_text = translator.translate(text).text if translation is None else translation.strip()
    pair = TokenPair([*translator.tokenizer.encode(text), EOS], translator.tokenizer.target.encode(target_text))
    _check_length(translator, pair)
    frames, statistics = [], []
    snapshots = list(_snapshots(translator, kept))
    for number, (facts, load) in enumerate(snapshots, start=1):
        snapshot = load()
        frames.append(facts | _frame(snapshot, corpus, text, pair))
        statistics.append(_statistics(snapshot, corpus))
        on_progress(number, len(snapshots))
    heads = [{"kind": kind, "layer": layer, "head": head} for kind, layer, head in all_heads(translator.model)]
    series = [[frame[number] for frame in statistics] for number in range(len(heads))]
    chance = _chance(translator, corpus)
    scores = {role: {kind: role_score(role, chance[kind]) or 0.0 for kind in kinds} for role, kinds in ROLES.items()}
    languages, target_tokenizer = translator.bundle.languages, translator.tokenizer.target
    source = side_data(translator.tokenizer, text, languages[0])
    target = side_data(target_tokenizer, target_text, languages[1], pair.target)
    return {
        "format": FORMAT,
        "text": source["text"],
        "translation": target["text"],
        "given": translation is not None,
        "languages": list(languages),
        "model": model_facts(translator.model),
        "run": _run_facts(run),
        "source": source,
        "target": {**target, "inputs": ["<s>", *target["tokens"][:-1]]},
        "pairs": len(corpus.pairs),
        "corpus": corpus.name,
        "aligner": corpus.aligner,
        "frames": frames,
        "heads": [
            {**head, **{name: [frame[name] for frame in rows] for name in (*MEASURES, "aer")}}
            for head, rows in zip(heads, series, strict=True)
        ],
        "chance": chance,
        "least": LEAST,
        "roles": [_rounded(each._asdict()) for each in emergences(heads, series, scores)],
    }


def film_page(data: dict[str, Any]) -> dict[str, Any]:
    """Pack the attention of `film_data` for the page: in 8 bits, or only 16, 8 or 4 strongest keys of each query."""
    cells = sum(x.size for frame in data["frames"] for x in frame["attention"].values())
    rows = sum(x[..., 0].size for frame in data["frames"] for x in frame["attention"].values())
    sizes = {0: cells, 16: rows * 16 * 4, 8: rows * 8 * 4, 4: rows * 4 * 4}  # bytes before base64
    top = next((top for top, size in sizes.items() if size * 4 / 3 <= BUDGET), 4)
    return _with_attention(data, lambda x: pack_weights(x, 8, top))


def film_json(data: dict[str, Any]) -> str:
    """Convert `film_data` to JSON, with weights [layer][head][query][key] in four decimals."""
    return json.dumps(_with_attention(data, lambda x: np.round(x.astype(float), 4).tolist()), ensure_ascii=False)


def role_lines(data: dict[str, Any]) -> list[str]:
    """Describe in text when heads take on roles, one line per role."""
    lines = []
    for role in ROLES:
        found = [each for each in data["roles"] if each["role"] == role and each["score"] >= data["least"]]
        names = (
            f"{each['kind']} L{each['layer'] + 1} H{each['head'] + 1} {_interval(data['frames'], each['frame'])}"
            for each in found
        )
        lines.append(f"{role}: {'; '.join(names) or 'no head'}")
    return lines


def _interval(frames: Sequence[dict[str, Any]], frame: int) -> str:
    steps = [each["step"] for each in frames]
    return f"steps {steps[frame - 1]:,}-{steps[frame]:,}" if frame else f"by step {steps[0]:,}"


def _with_attention(data: dict[str, Any], convert: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    frames = [
        {**frame, "attention": {kind: convert(x) for kind, x in frame["attention"].items()}} for frame in data["frames"]
    ]
    return {**data, "frames": frames}


def _corpus(translator: Translator, run: Path, test: Sequence[Path], alignments: Path | None) -> FilmCorpus:
    if test:
        numbered, name = read_pairs_of(translator, test), test[0].name
    else:
        texts = _validation_texts(run)[:SENTENCES]
        found = [(line, usable_pair(translator, *texts[line])) for line in range(len(texts))]
        numbered, name = [(line, pair) for line, pair in found if pair], "validation"
    if not numbered:
        raise UserError(f"{test[0] if test else run}: no sentence pair can be measured. Give other text with --test.")
    pairs = [pair for _, pair in numbered]
    if alignments:
        gold = links_of_pairs(alignments, numbered)
    else:
        gold = align_words([(source.words[:-1], target.words[:-1]) for source, target in pairs])
    return FilmCorpus(name, pairs[:MEASURED], gold[:MEASURED], alignments.name if alignments else BUILT_IN_ALIGNER)


def _validation_texts(run: Path) -> list[tuple[str, str]]:
    prepared = PreparedData(run / "data")
    if not prepared.is_complete:
        raise UserError(f"{run}: the folder data with the validation text is missing. Give text: --test SOURCE TARGET.")
    return prepared.valid_texts()


def _short_sentence(translator: Translator, pairs: Sequence[tuple[Sentence, Sentence]]) -> str:
    short = [source for source, target in pairs if len(source.ids) in _LENGTHS and len(target.ids) in _LENGTHS]
    return translator.tokenizer.decode((short[0] if short else pairs[0][0]).ids[:-1])


def _check_length(translator: Translator, pair: TokenPair) -> None:
    length = max(len(pair.source), len(pair.target) + 1)
    if length > MAX_TOKENS:
        raise UserError(
            f"the sentence or its translation has {length} tokens, the limit of a page is {MAX_TOKENS}: shorten it."
        )
    translator.refuse_beyond_positions(length, "the text or its translation")


def _snapshots(translator: Translator, kept: Snapshots) -> Iterator[tuple[dict[str, Any], Callable[[], Translator]]]:
    """Yield the facts of each snapshot, and a function that loads it; the last is the bundle of a finished run."""
    bundle = translator.bundle
    model = build_model(bundle.config.model, bundle.tokenizer).to(translator.device).eval()

    def load(step: int) -> Translator:
        load_weights(model, kept.load(step), kept.path(step))
        return Translator(replace(bundle, model=model), translator.device, inter_threads=1)

    for step in kept.steps():
        yield {"step": step, "weights": None}, partial(load, step)
    if weights := bundle.notes.get("weights"):
        yield {"step": int(bundle.notes["steps"]), "weights": str(weights)}, lambda: translator


def _frame(snapshot: Translator, corpus: FilmCorpus, text: str, pair: TokenPair) -> dict[str, Any]:
    """Return the entries of a frame that depend on the snapshot."""
    result = run_pair(snapshot, pair, Switches())
    predicted = predictions(snapshot, result.log_p, pair.target, 2)
    return {
        "loss": _finite(mean_loss(snapshot.model, corpus.pairs)),
        "log_p": predicted.pop("log_p"),
        "predictions": predicted,
        "translation": snapshot.translate(text, repetition_guard=False).text,
        "attention": weights_of(result.recorded),
    }


def _statistics(snapshot: Translator, corpus: FilmCorpus) -> list[dict[str, float | None]]:
    """Return all measures of every head, in the order of `all_heads`."""
    sums = measure_heads(snapshot.model, corpus.pairs, snapshot.tokenizer)
    rows = [head_row(sums[kind], kind, layer, head, corpus.gold) for kind, layer, head in all_heads(snapshot.model)]
    return [{name: row[name] for name in (*MEASURES, "aer")} for row in rows]


def _chance(translator: Translator, corpus: FilmCorpus) -> dict[str, Any]:
    """Measure uniform attention: in a model whose weights are all zero, all scores are equal."""
    model = build_model(translator.bundle.config.model, translator.bundle.tokenizer).to(translator.device).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    bundle: Bundle = replace(translator.bundle, model=model)
    uniform = _statistics(Translator(bundle, translator.device), corpus)
    first = {kind: number for number, (kind, *_) in reversed(list(enumerate(all_heads(model))))}
    chance: dict[str, Any] = {kind: uniform[first[kind]] | {"aer": None} for kind in KINDS}
    chance["cross"]["aer"] = round(1 - chance_alignment(corpus.pairs, corpus.gold), 4)
    return {**chance, "loss": round(math.log(len(translator.tokenizer.target)), 4)}


class _Asked(BaseModel):
    start: str | None = Field(default=None, alias="start from")  # path and checksum


class _Plan(BaseModel):
    steps: int | None = None


class _Record(BaseModel):
    """What is read of `run.json`."""

    asked: _Asked = _Asked()
    plan: _Plan = _Plan()


def _run_facts(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if (run / "run.json").is_file():
        record, _ = read_sealed(run / "run.json", _Record, "Restore the file.")
    asked = record.get("asked", {})
    start = asked.get("start from")  # path and checksum
    return {
        "planned": record.get("plan", {}).get("steps"),
        "finished": "finished" in record,
        "origin": "start" if start else "teacher" if "teacher" in asked else "random",
        "start": Path(start.rpartition(" ")[0]).name if start else None,
    }


def _rounded(role: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in role.items()}


def _finite(loss: float) -> float | None:
    return round(loss, 4) if math.isfinite(loss) else None
