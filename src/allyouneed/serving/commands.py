"""The `allyouneed serve` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed import serving
from allyouneed.errors import UserError
from allyouneed.terminal import ComputeType, finite, say

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN...", help="Runs or bundles, one a pair.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine reaches the default.")
    ] = "127.0.0.1",
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only those with a key in it may translate.")
    ] = None,
    add_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Puts a new key into --keys, prints it, and leaves.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute: of the new key, or of each key or address.")
    ] = None,
    quota: Annotated[int | None, typer.Option(min=1, help="Characters a month that the new key may translate.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Serve others without keys.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="With a model each; one a core by default.")] = None,
    compute_type: ComputeType = "float32",
    characters: Annotated[int, typer.Option(min=1, help="Of one request's text, at most.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=0.1, callback=finite, help="For one request, at most.")] = 60.0,
    queue: Annotated[int, typer.Option(min=1, help="Sentences that may wait; more are refused (503).")] = 4096,
    file_minutes: Annotated[
        float, typer.Option(min=0.01, callback=finite, help="Until uploaded files are deleted.")
    ] = 30.0,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Site whose pages may call; repeatable.")
    ] = None,
    metrics_token: Annotated[
        str | None, typer.Option(envvar="ALLYOUNEED_METRICS_TOKEN", help="What /metrics asks for.")
    ] = None,
    log_text: Annotated[bool, typer.Option("--log-text", help="Users' text goes into the logs, too.")] = False,
) -> None:
    """Serves translators over HTTP, with a page to try them.

    It speaks LibreTranslate's API, DeepL's, and its own.

    Example: allyouneed serve RUN --port 5000
    """
    if add_key is not None:
        if not keys:
            raise UserError("--add-key needs a file to put the key into: give --keys FILE.")
        print(serving.add_key(keys, add_key, per_minute, quota))
        return
    if quota is not None:
        raise UserError("--quota applies to a new key: give --keys FILE --add-key NAME too, or leave it out.")
    settings = serving.ServerSettings(
        host=host, port=port, public=public, keys=keys, per_minute=per_minute, threads=threads,
        compute_type=compute_type, characters=characters, seconds=seconds, queue_sentences=queue,
        file_minutes=file_minutes, origins=tuple(cors or ()), metrics_token=metrics_token, log_text=log_text,
    )  # fmt: skip
    try:
        serve_runs = serving.serve
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing. Install the server: pip install 'allyouneed[serve]'.") from error
    serve_runs(runs or [], settings, say)
