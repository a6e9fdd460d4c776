"""The command `allyouneed verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from allyouneed import verification
from allyouneed.terminal import completing, say

app = typer.Typer(rich_markup_mode=None)

_MODULE = "The module"  # heading in the command's help


@app.command()
def verify(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE.py:NAME", help="A torch module, a class, or a function that makes one."),
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the first step that differs side by side.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    language: Annotated[
        str, typer.Option(metavar="CODE", help="Language: en or ko.", autocompletion=completing("en", "ko"))
    ] = "en",
    forward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Function in FILE.py: forward(module, source, target).", rich_help_panel=_MODULE
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Loss in FILE.py to check: loss(logits, labels).", rich_help_panel=_MODULE),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Training step in FILE.py to check: step(module, source, target).",
            rich_help_panel=_MODULE,
        ),
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(min=1, help="Heads. Default: read from the module.", rich_help_panel=_MODULE)
    ] = None,
    pad_id: Annotated[
        int | None, typer.Option(min=0, help="Id of padding. Default: read, or 0.", rich_help_panel=_MODULE)
    ] = None,
    bos_id: Annotated[
        int | None, typer.Option(min=0, help="Id of the start token. Default: the first.", rich_help_panel=_MODULE)
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(min=4, help="Source vocabulary. Default: read.", rich_help_panel=_MODULE)
    ] = None,
    target_vocab_size: Annotated[
        int | None, typer.Option(min=4, help="Target vocabulary. Default: read.", rich_help_panel=_MODULE)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of FILE.py.")] = False,
) -> None:
    """Compare your own Transformer with the paper's.

    FILE.py is executed. The command finds known mistakes, such as a visible future or a missing √d_k, and names the
    first step that differs. Exit code 1: a mistake was found.

    Example: allyouneed verify my_model.py:Transformer --html verify.html
    """
    numbers: verification.Numbers = {
        "num_heads": num_heads,
        "pad_id": pad_id,
        "bos_id": bos_id,
        "vocab_size": vocab_size,
        "target_vocab_size": target_vocab_size,
    }
    request = verification.VerifyRequest(target, html, language, (forward, loss, step), numbers, debug)
    result = verification.verify_file(request)
    print(json.dumps(result.as_dict(language), ensure_ascii=False) if as_json else result.report(language))
    if html is not None:
        say(f"wrote {html}")
    if not result.passed:
        raise typer.Exit(1)
