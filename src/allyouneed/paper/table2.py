"""Table 2's claim, "better, and far less time to train", at a scale of one's choice: the Transformer against an RNN.

Both train on the same text with the same subwords, have the same number of parameters, the same minutes, batches,
loss, optimizer, validation and averaging. The settings are the best for either that a search found
(docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from allyouneed.bundle import Build, load_bundle
from allyouneed.config import Config
from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import read_pairs
from allyouneed.data.prepare import prepare
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.model.transformer import Transformer
from allyouneed.paper.cost import BASE, BIG, flops_per_token, hardware_flops, paper_flops
from allyouneed.paper.plots import COLOURS, new_plot
from allyouneed.paper.recurrent import RecurrentTranslator
from allyouneed.paper.results import Results, as_table
from allyouneed.progress import print_line
from allyouneed.training.log import RunLog
from allyouneed.training.loop import INTERRUPTED
from allyouneed.training.request import Request, assignments_of, base_config, identity, requested_device
from allyouneed.training.size import matrix_flops
from allyouneed.training.train import train
from allyouneed.translation.text_files import evaluate_files
from allyouneed.translation.translator import Translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEMS: dict[str, Build] = {
    "Transformer": Transformer,
    "RNN with attention": cast(Build, RecurrentTranslator),  # has all of the interface that training and search use
}
_RECIPE = "tiny"
_CHANCE = 0.5  # points of BLEU
_PAPER = [  # newstest2014, as printed
    ("ByteNet", 23.75, None, None, None),
    ("Deep-Att + PosUnk", None, 39.2, None, "1.0e20"),
    ("GNMT + RL", 24.6, 39.92, "2.3e19", "1.4e20"),
    ("ConvS2S", 25.16, 40.46, "9.6e18", "1.5e20"),
    ("MoE", 26.03, 40.56, "2.0e19", "1.2e20"),
    ("Transformer (base)", 27.3, 38.1, "3.3e18", "3.3e18"),
    ("Transformer (big)", 28.4, 41.8, "2.3e19", "2.3e19"),
]


def run_table2(
    request: Request, test: Sequence[Path], budget: float, tokenized: bool, console: Console, out: Path | None = None
) -> Path:
    """Trains both systems for `budget` minutes each, and scores them on `test`. -> the page.

    request: text, languages, the Transformer's recipe, settings for both; out: where to, see `Results.open`.
    Errors: `UserError` for a setting that is the budget's, for no BLEU to compare, and for all that training refuses.
    """
    for name in ("steps", "minutes"):
        if assignments_of(request.settings, f"training.{name}"):
            raise UserError(f"--set training.{name}: give --budget, the minutes that each system is trained for.")
    fixed = replace(request, recipe=request.recipe or _RECIPE)
    config = base_config(fixed).override(request.settings)
    if config.training.bleu_sentences == 0:
        raise UserError("training.bleu_sentences = 0: table 2 compares BLEU over time. Give more, or leave it out.")
    if count_pairs(test) == 0:
        raise UserError(f"{test[0]}: the file is empty.")
    for pair in read_pairs(test, config.data.columns):  # before the trainings, which know their test text
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Mend the line: every test sentence counts.")
    asked = {
        **identity(request),
        "budget": budget,
        "test": [f"{path.name} {sha256(path)}" for path in test],
        "tokenized": tokenized,
    }
    results = Results.open("table2", out, asked)
    shared = replace(fixed, data=results.folder / "data")
    prepare(shared.data_folder, shared.train, shared.valid, config.data, partial(print_line, console))
    results.part("peak", lambda: {"flops": matrix_flops(choose_device(config.training.device))})
    settings = [f"training.minutes={budget:g}", *request.settings]
    for name, build in SYSTEMS.items():
        run = results.folder / name.split()[0].lower()
        asked_run = replace(shared, out=run, build=build, settings=settings)
        results.part(name, partial(_measure, asked_run, test, tokenized, console))
    return _write_page(results, config, budget)


def _measure(request: Request, test: Sequence[Path], tokenized: bool, console: Console) -> dict[str, Any]:
    print_line(console, f"{request.out.name}:")
    if train(request, console).status == INTERRUPTED:
        raise KeyboardInterrupt
    bundle = load_bundle(request.out, request.build)
    log = RunLog(request.out, console).records()
    updates = [record for record in log if record["event"] == "train"]
    tokens = sum(record["tokens"] for record in updates)
    scores = evaluate_files(Translator(bundle, requested_device(request)), test, tokenized=tokenized)
    return {
        "parameters": bundle.model.num_parameters(),
        "steps": bundle.notes["steps"],
        "weights": bundle.notes["weights"],
        "tokens": tokens,
        "seconds": updates[-1]["seconds"],
        "flops": tokens * flops_per_token(bundle.model),
        "valid": bundle.scores["valid"],
        "test": scores.as_dict(),
        "curve": [(r["seconds"], r["bleu"], r["loss"]) for r in log if r["event"] == "validation"],
    }


def _write_page(results: Results, config: Config, budget: float) -> Path:
    systems = {name: results.parts[name] for name in SYSTEMS}
    rows = [_row(name, facts, results.parts["peak"]["flops"]) for name, facts in systems.items()]
    paper = [dict(zip(("system", "EN-DE", "EN-FR", "FLOPs EN-DE", "FLOPs EN-FR"), row, strict=True)) for row in _PAPER]
    tables = {"table2": rows, "curves": _curve_rows(systems)}
    page = [
        "# Table 2: better, and in less time?",
        "",
        f"A Transformer and an RNN encoder-decoder with attention, {budget:g} minutes each on this machine.",
        "",
        as_table(rows),
        "",
        f"Test BLEU: `{systems['Transformer']['test']['bleu_signature']}`, beam {config.search.beam_size}. FLOPs "
        "computed: six for each weight of a matrix and target token. FLOPs by the paper's rule: seconds × this "
        "machine's rate of large matrix products. The budget holds validation and scoring too; seconds are of "
        "training, validations within it included. Loop, optimizer, dropout, loss and search are the same for both; "
        "attention may run in this repository's kernels, the recurrence in PyTorch's.",
        "",
        _verdict(systems),
        "",
        "![BLEU over time](table2.png)",
        "",
        "## As printed, newstest2014",
        as_table(paper),
        "",
        f"The paper's rule, computed again: base {paper_flops(BASE):.2e}, big {paper_flops(BIG):.2e}.",
    ]
    return results.finish("\n".join(page), tables, {"table2": _plot(systems)})


def _row(name: str, facts: dict[str, Any], peak: float) -> dict[str, Any]:
    return {
        "system": name,
        "parameters ×10⁶": f"{facts['parameters'] / 1e6:.2f}",
        "valid BLEU": f"{facts['valid']['bleu']:.2f}",
        "test BLEU": f"{facts['test']['bleu']:.2f}",
        "test chrF": f"{facts['test']['chrf']:.2f}",
        "updates": f"{facts['steps']:,}",
        "target tokens/s": f"{facts['tokens'] / facts['seconds']:,.0f}",
        "seconds": f"{facts['seconds']:,.0f}",
        "FLOPs computed": f"{facts['flops']:.2e}",
        "FLOPs, paper's rule": f"{hardware_flops(facts['seconds'], 1, peak):.2e}",
    }


def _curve_rows(systems: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"system": name, "seconds": f"{seconds:.1f}", "valid BLEU": f"{bleu:.2f}", "valid loss": f"{loss:.4f}"}
        for name, facts in systems.items()
        for seconds, bleu, loss in facts["curve"]
    ]


def _verdict(systems: dict[str, dict[str, Any]]) -> str:
    """What the measurement says of both halves of the claim, whichever way it went, and what could explain it."""
    ours, other = systems.values()
    gap = ours["test"]["bleu"] - other["test"]["bleu"]
    if abs(gap) < _CHANCE:
        better = f"**Better?** Not to be told apart with one seed each: {gap:+.2f} BLEU on the test text."
    else:
        better = f"**Better?** {'Yes' if gap > 0 else 'No'}: {gap:+.2f} BLEU beside the RNN on the test text."
    best = max(bleu for _, bleu, _ in other["curve"])
    reached = next((seconds for seconds, bleu, _ in ours["curve"] if bleu >= best), None)
    when = next(seconds for seconds, bleu, _ in other["curve"] if bleu == best)
    if reached is not None and reached < when:
        return (
            f"{better}\n\n**In less time?** Yes: it reached the RNN's best validation BLEU, {best:.1f}, after "
            f"{reached:,.0f} s; the RNN took {when:,.0f} s."
        )
    losses = " and ".join(f"{facts['curve'][-1][2]:.2f}" for facts in systems.values())
    arrived = "never was" if reached is None else f"was after {reached:,.0f} s"
    return (
        f"{better}\n\n**In less time?** No: the RNN was at {best:.1f} BLEU on the validation text after {when:,.0f} s, "
        f"the Transformer {arrived}. What could explain it: the paper's gain in time comes from devices that compute "
        "all positions at once and would wait for a recurrence; a few cores are busy either way, as the rates show. "
        "Sentences are short, a state of fixed size holds them well, and a recurrence knows order from the first step, "
        f"which attention has to learn. The last validation losses were {losses} (Transformer first): a longer budget "
        "may order them otherwise."
    )


def _plot(systems: dict[str, dict[str, Any]]) -> Figure:
    figure, axes = new_plot("BLEU over training time", "minutes of training", "BLEU, validation, greedy")
    for (name, facts), colour in zip(systems.items(), COLOURS, strict=False):
        minutes, bleu = zip(*((seconds / 60, bleu) for seconds, bleu, _ in facts["curve"]), strict=True)
        axes.plot(minutes, bleu, marker="o", markersize=3, color=colour, label=name)
    axes.legend(frameon=False)
    return figure
