"""Table 2 at a chosen scale: is the Transformer better than an RNN, and does it need less training time?

Both systems have the same training text, vocabulary, number of parameters, minutes, batches, loss, optimizer,
validation and checkpoint averaging. Their settings are the best of a search (docs/experiments.md).
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
from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.data.prepare import prepare
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.model.transformer import Transformer
from allyouneed.paper.cost import BASE, BIG, flops_per_token, hardware_flops, paper_flops
from allyouneed.paper.plots import COLOURS, new_plot
from allyouneed.paper.recurrent import RecurrentTranslator
from allyouneed.paper.results_folder import Results, as_table
from allyouneed.progress import print_line
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.request import Request, assignments_of, base_config, requested_device
from allyouneed.training.resolution.identity import identity
from allyouneed.training.resolution.size import matrix_flops
from allyouneed.training.train import train
from allyouneed.translation.evaluation.bleu_tokenizers import AUTO, for_text
from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.translator import Translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEMS: dict[str, Build] = {
    "Transformer": Transformer,
    "RNN with attention": cast(Build, RecurrentTranslator),  # has the methods that training and search call
}
_RECIPE = "tiny"
_NOISE = 0.5  # BLEU points; smaller differences may be due to the seed
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
    """Train both systems and score them.

    Args:
        request: Training text, languages, the Transformer's recipe, and settings of both systems.
        test: Test text, as two files or one TSV file.
        budget: Training time of each system in minutes.
        tokenized: Whether the text is already tokenized.
        console: Receives progress.
        out: Folder of the results, see `Results.open`.

    Returns:
        The path of the page.

    Raises:
        UserError: If a setting conflicts with the budget or disables BLEU, the test text is invalid, or training
            rejects the request.
    """
    fixed, config = _validated(request, test)
    identified = {
        **identity(request),
        "budget": budget,
        "test": [f"{path.name} {sha256(path)}" for path in test],
        "tokenized": tokenized,
    }
    results = Results.open("table2", out, identified)
    shared = replace(fixed, data=results.folder / "data")
    show = partial(print_line, console)
    prepare(shared.data_folder, shared.train, shared.valid, config.data, show, languages=shared.languages)
    results.part("peak", lambda: {"flops": matrix_flops(choose_device(config.training.device))})
    settings = [f"training.minutes={budget:g}", *request.settings]
    for name, build in SYSTEMS.items():
        run = results.folder / name.split()[0].lower()
        system = replace(shared, out=run, build=build, settings=settings)
        results.part(name, partial(_measure, system, test, tokenized, console))
    return _write_page(results, config, budget)


def _validated(request: Request, test: Sequence[Path]) -> tuple[Request, Config]:
    """Check settings and test text before the training, and resolve the recipe."""
    for name in ("steps", "minutes"):
        if assignments_of(request.settings, f"training.{name}"):
            raise UserError(f"--set training.{name}: give --budget, the training time of each system in minutes.")
    fixed = replace(request, recipe=request.recipe or _RECIPE)
    config = base_config(fixed).override(request.settings)
    if config.training.bleu_sentences == 0:
        raise UserError(
            "training.bleu_sentences = 0: table 2 compares BLEU over time. Give a positive number, or omit it."
        )
    if count_pairs(test) == 0:
        raise UserError(f"{test[0]}: the file is empty.")
    for pair in read_pairs(test, columns_for(test, config.data.columns, request.languages)):
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Correct the line: scores need every test sentence.")
    return fixed, config


def _measure(request: Request, test: Sequence[Path], tokenized: bool, console: Console) -> dict[str, Any]:
    print_line(console, f"{request.out.name}:")
    train(request, console).raise_if_interrupted()
    bundle = load_bundle(request.out, request.build)
    log = RunLog(request.out, console).records()
    updates = [record for record in log if record["event"] == "train"]
    tokens = sum(record["tokens"] for record in updates)
    scores = evaluate(Translator(bundle, requested_device(request)), test, tokenizer=for_text(tokenized, AUTO))
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
    rows = [_row(name, measured, results.parts["peak"]["flops"]) for name, measured in systems.items()]
    paper = [dict(zip(("system", "EN-DE", "EN-FR", "FLOPs EN-DE", "FLOPs EN-FR"), row, strict=True)) for row in _PAPER]
    tables = {"table2": rows, "curves": _curve_rows(systems)}
    page = [
        "# Table 2: quality and training time",
        "",
        f"A Transformer and an RNN encoder-decoder with attention, each trained for {budget:g} minutes.",
        "",
        as_table(rows),
        "",
        f"Test BLEU: `{systems['Transformer']['test']['bleu_signature']}`, beam {config.search.beam_size}. FLOPs "
        "computed: six per weight of a matrix and target token. FLOPs, paper's rule: seconds × this machine's rate of "
        "large matrix products. The budget includes validation and scoring; the seconds are those of training with its "
        "validations. Both systems have the same training loop, optimizer, dropout, loss and search; attention may run "
        "in this repository's kernels, the recurrence in PyTorch's.",
        "",
        _verdict(systems),
        "",
        "![BLEU over time](table2.png)",
        "",
        "## Table 2 as printed, newstest2014",
        as_table(paper),
        "",
        f"Recomputed by the paper's rule: base {paper_flops(BASE):.2e}, big {paper_flops(BIG):.2e}.",
    ]
    return results.finish("\n".join(page), tables, {"table2": _plot(systems)})


def _row(name: str, measured: dict[str, Any], peak: float) -> dict[str, Any]:
    return {
        "system": name,
        "parameters ×10⁶": f"{measured['parameters'] / 1e6:.2f}",
        "valid BLEU": f"{measured['valid']['bleu']:.2f}",
        "test BLEU": f"{measured['test']['bleu']:.2f}",
        "test chrF": f"{measured['test']['chrf']:.2f}",
        "updates": f"{measured['steps']:,}",
        "target tokens/s": f"{measured['tokens'] / measured['seconds']:,.0f}",
        "seconds": f"{measured['seconds']:,.0f}",
        "FLOPs computed": f"{measured['flops']:.2e}",
        "FLOPs, paper's rule": f"{hardware_flops(measured['seconds'], 1, peak):.2e}",
    }


def _curve_rows(systems: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"system": name, "seconds": f"{seconds:.1f}", "valid BLEU": f"{bleu:.2f}", "valid loss": f"{loss:.4f}"}
        for name, measured in systems.items()
        for seconds, bleu, loss in measured["curve"]
    ]


def _verdict(systems: dict[str, dict[str, Any]]) -> str:
    """Describe the outcome of both halves of the claim, and possible explanations."""
    transformer, rnn = systems.values()
    gap = transformer["test"]["bleu"] - rnn["test"]["bleu"]
    if abs(gap) < _NOISE:
        better = f"**Better?** Undecided with one seed each: {gap:+.2f} BLEU on the test text."
    else:
        better = f"**Better?** {'Yes' if gap > 0 else 'No'}: {gap:+.2f} BLEU relative to the RNN on the test text."
    best = max(bleu for _, bleu, _ in rnn["curve"])
    transformer_time = next((seconds for seconds, bleu, _ in transformer["curve"] if bleu >= best), None)
    rnn_time = next(seconds for seconds, bleu, _ in rnn["curve"] if bleu == best)
    if transformer_time is not None and transformer_time < rnn_time:
        return (
            f"{better}\n\n**In less time?** Yes: it reached the RNN's best validation BLEU, {best:.1f}, after "
            f"{transformer_time:,.0f} s; the RNN needed {rnn_time:,.0f} s."
        )
    losses = " and ".join(f"{measured['curve'][-1][2]:.2f}" for measured in systems.values())
    reached = "did not reach it" if transformer_time is None else f"after {transformer_time:,.0f} s"
    return (
        f"{better}\n\n**In less time?** No: the RNN reached {best:.1f} BLEU on the validation text after "
        f"{rnn_time:,.0f} s, the Transformer {reached}. Possible explanations: the paper's speed-up comes from devices "
        "that compute all positions in parallel and that a recurrence would leave idle; a few cores are busy with "
        "either model, as the rates show. The sentences are short, so a state of fixed size holds them well, and a "
        "recurrence knows the order of tokens from the first step, which attention has to learn. The last validation "
        f"losses were {losses} (Transformer first): a longer budget may reverse the order."
    )


def _plot(systems: dict[str, dict[str, Any]]) -> Figure:
    figure, axes = new_plot("BLEU over training time", "training time (minutes)", "validation BLEU, greedy")
    for (name, measured), colour in zip(systems.items(), COLOURS, strict=False):
        minutes, bleu = zip(*((seconds / 60, bleu) for seconds, bleu, _ in measured["curve"]), strict=True)
        axes.plot(minutes, bleu, marker="o", markersize=3, color=colour, label=name)
    axes.legend(frameon=False)
    return figure
