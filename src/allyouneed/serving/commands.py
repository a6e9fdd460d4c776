"""The `allyouneed serve` command; most of its options are derived from the fields of `ServerSettings`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from allyouneed import serving
from allyouneed.errors import UserError
from allyouneed.terminal import completing, say
from allyouneed.translation.search_command import GroupedCommand, checked, typer_parameters

app = typer.Typer(rich_markup_mode=None)


class ServeCommand(GroupedCommand):
    """Derives options from `ServerSettings` when the command runs or shows its help, so that `allyouneed --help` does
    not load pydantic. The command's function reads the validated settings from `context.obj`."""

    headings = ("Arguments", "Address", "Keys", "Limits", "Speed", "Monitoring")

    @cached_property
    def settings_parameters(self) -> list[Any]:
        return _settings_parameters()

    def get_params(self, ctx: Any) -> list[Any]:
        own = super().get_params(ctx)
        return [*own[:-1], *self.settings_parameters, own[-1]]  # --help stays last

    def invoke(self, ctx: Any) -> Any:
        values = {parameter.name: ctx.params.pop(parameter.name) for parameter in self.settings_parameters}
        given = {name: value for name, value in values.items() if value not in (None, [])}
        ctx.obj = serving.ServerSettings.model_validate(given)
        return super().invoke(ctx)


@app.command(cls=ServeCommand)
def serve(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN...", help="Runs or bundles, one per language pair.")
    ] = None,
    add_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add a new key to --keys, print it, and exit.", rich_help_panel="Keys"),
    ] = None,
    quota: Annotated[
        int | None,
        typer.Option(min=1, max=10**12, help="Characters per month for the new key.", rich_help_panel="Keys"),
    ] = None,
) -> None:
    """Serve translators over HTTP, with a web page.

    The server offers LibreTranslate's API, DeepL's API and its own.

    Example: allyouneed serve RUN --port 5000
    """
    settings = context.obj
    if add_key is not None:
        if not settings.keys:
            raise UserError("--add-key needs a file to put the key into: give --keys FILE.")
        print(serving.add_key(settings.keys, add_key, settings.per_minute, quota))
        return
    if quota is not None:
        raise UserError("--quota applies to a new key: give --keys FILE --add-key NAME too, or omit it.")
    try:
        serve_runs = serving.serve
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing. Install the server: pip install 'allyouneed[serve]'.") from error
    serve_runs(runs or [], settings, say)


def _settings_parameters() -> list[Any]:
    parameters = {}
    for name, field in serving.ServerSettings.model_fields.items():
        for option in field.metadata:
            if isinstance(option, serving.ServeOption):
                flag = option.flag or f"--{name.replace('_', '-')}"
                made = typer.Option(
                    flag,  # a single name, so that a Boolean has no --no-... form
                    help=field.description,
                    metavar=option.metavar,
                    envvar=option.envvar,
                    autocompletion=completing(*option.values) if option.values else None,
                    callback=checked(serving.ServerSettings, name),
                    rich_help_panel=option.group,
                )
                kind, default = (list[str] | None, None) if field.default == () else (field.annotation, field.default)
                parameters[name] = Annotated[kind, made], default
    return typer_parameters(parameters)
