"""Table 2's claim, "better, and far less time to train", at a scale of one's choice: the Transformer against an RNN.

Both train on the same text with the same subwords, have the same number of parameters, the same minutes, batches,
loss, optimizer, validation and averaging. The settings are the best for either that a search found
(docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from allyouneed.bundle import load_bundle
from allyouneed.config import Config, ModelConfig, load_recipe
from allyouneed.data.prepare import prepare
from allyouneed.model.transformer import Transformer
from allyouneed.paper.cost import BASE, BIG, flops_per_token, hardware_flops, paper_flops
from allyouneed.paper.plots import COLOURS, new_plot
from allyouneed.paper.recurrent import RecurrentTranslator
from allyouneed.paper.results import Results, as_table
from allyouneed.training.log import RunLog
from allyouneed.training.request import Request, identity
from allyouneed.training.run import INTERRUPTED, train
from allyouneed.training.size import matrix_flops
from allyouneed.translation.files import evaluate_files
from allyouneed.translation.translator import Translator

SYSTEMS: dict[str, Callable[[ModelConfig, int], nn.Module]] = {
    "Transformer": Transformer,
    "RNN with attention": RecurrentTranslator,
}
_RECIPE = "tiny"
_PAPER = [  # newstest2014, as printed
    ("ByteNet", 23.75, None, None, None),
    ("Deep-Att + PosUnk", None, 39.2, None, "1.0e20"),
    ("GNMT + RL", 24.6, 39.92, "2.3e19", "1.4e20"),
    ("ConvS2S", 25.16, 40.46, "9.6e18", "1.5e20"),
    ("MoE", 26.03, 40.56, "2.0e19", "1.2e20"),
    ("Transformer (base)", 27.3, 38.1, "3.3e18", "3.3e18"),
    ("Transformer (big)", 28.4, 41.8, "2.3e19", "2.3e19"),
]


def run_table2(request: Request, test: Sequence[Path], budget: float, tokenized: bool, console: Console) -> Path:
    """Trains both systems for `budget` minutes each, and scores them on `test`. -> the page.

    request: text, languages, the Transformer's recipe, settings for both; its `out` may be None.
    Errors: `UserError` for all that training refuses.
    """
    asked = {**identity(request), "budget": budget, "test": [path.name for path in test], "tokenized": tokenized}
    results = Results.open("table2", request.out, asked)
    shared = replace(request, recipe=request.recipe or _RECIPE, data=results.folder / "data")
    config = load_recipe(shared.recipe).override(request.settings)
    prepare(shared.data, shared.train, shared.valid, config.data, console.print)
    settings = [f"training.minutes={budget:g}", *request.settings]
    for name, build in SYSTEMS.items():
        run = results.folder / name.split()[0].lower()
        asked_run = replace(shared, out=run, build=build, settings=settings)
        results.part(name, lambda asked_run=asked_run: _measure(asked_run, test, tokenized, console))
    return _write_page(results, config, budget)


def _measure(request: Request, test: Sequence[Path], tokenized: bool, console: Console) -> dict:
    console.print(f"{request.out.name}:", highlight=False)
    if train(request, console).status == INTERRUPTED:
        raise KeyboardInterrupt
    bundle = load_bundle(request.out, request.build)
    log = RunLog(request.out, console).records()
    updates = [record for record in log if record["event"] == "train"]
    tokens = sum(record["tokens"] for record in updates)
    device = Translator(bundle, "auto").device
    scores = evaluate_files(Translator(bundle, device), test, tokenized=tokenized)
    return {
        "parameters": bundle.model.num_parameters(),
        "steps": bundle.notes["steps"],
        "weights": bundle.notes["weights"],
        "tokens": tokens,
        "seconds": updates[-1]["seconds"],
        "flops": tokens * flops_per_token(bundle.model),
        "hardware_flops": hardware_flops(updates[-1]["seconds"], 1, matrix_flops(device)),
        "valid": bundle.scores["valid"],
        "test": scores.as_dict(),
        "curve": [(r["seconds"], r["bleu"], r["loss"]) for r in log if r["event"] == "validation"],
    }


def _write_page(results: Results, config: Config, budget: float) -> Path:
    systems = {name: results.parts[name] for name in SYSTEMS}
    rows = [_row(name, facts) for name, facts in systems.items()]
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
        "training, validations within it included.",
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


def _row(name: str, facts: dict) -> dict:
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
        "FLOPs, paper's rule": f"{facts['hardware_flops']:.2e}",
    }


def _curve_rows(systems: dict[str, dict]) -> list[dict]:
    return [
        {"system": name, "seconds": f"{seconds:.1f}", "valid BLEU": f"{bleu:.2f}", "valid loss": f"{loss:.4f}"}
        for name, facts in systems.items()
        for seconds, bleu, loss in facts["curve"]
    ]


def _verdict(systems: dict[str, dict]) -> str:
    """What the measurement says of both halves of the claim, whichever way it went."""
    ours, other = systems.values()
    gap = ours["test"]["bleu"] - other["test"]["bleu"]
    best = max(bleu for _, bleu, _ in other["curve"])
    reached = next((seconds for seconds, bleu, _ in ours["curve"] if bleu >= best), None)
    better = (
        f"Better: on the test text the Transformer is {abs(gap):.2f} BLEU {'above' if gap > 0 else 'BELOW'} the RNN."
    )
    if reached is None:
        return f"{better} Less time: no, it never reached the RNN's best validation BLEU, {best:.1f}, in this budget."
    when = next(seconds for seconds, bleu, _ in other["curve"] if bleu == best)
    return (
        f"{better} Less time: it reached the RNN's best validation BLEU, {best:.1f}, after {reached:,.0f} s; the RNN "
        f"took {when:,.0f} s."
    )


def _plot(systems: dict[str, dict]):
    figure, axes = new_plot("BLEU over training time", "minutes of training", "BLEU, validation, greedy")
    for (name, facts), colour in zip(systems.items(), COLOURS, strict=False):
        minutes, bleu = zip(*((seconds / 60, bleu) for seconds, bleu, _ in facts["curve"]), strict=True)
        axes.plot(minutes, bleu, marker="o", markersize=3, color=colour, label=name)
    axes.legend(frameon=False)
    return figure
