"""Commands whose options are derived from the fields of `SearchOptions`, with help in groups.

Typer builds the options of all commands at import. Loading pydantic at import would slow down `allyouneed --help`, so a
`SearchCommand` derives its options only when it runs or shows its help.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import typer
from typer.core import TyperCommand
from typer.main import get_command

import allyouneed
from allyouneed import translation

if TYPE_CHECKING:
    from pydantic import BaseModel

Value = TypeVar("Value")
_COLUMN = 30  # width of option names in help texts


class GroupedCommand(TyperCommand):
    """A command whose help lists its options under the headings given as `rich_help_panel` to `typer.Option`.

    Headings that are not in `headings` follow in the order of the options.
    """

    headings: ClassVar[tuple[str, ...]] = (
        "Arguments",
        "Input and output",
        "Documents",
        "Search",
        "Constraints",
        "Sampling",
        "Metrics",
        "Speed",
    )

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.headings}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                is_argument = parameter.param_type_name == "argument"
                heading = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or "Options"
                groups.setdefault(heading, []).append((record[0].ljust(_COLUMN), record[1]))
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class SearchCommand(GroupedCommand):
    """A command with options for fields of `SearchOptions`; its function reads the validated options from `ctx.obj`."""

    names: ClassVar[tuple[str, ...]] = ()  # names of the fields; if empty, all fields

    @cached_property
    def search_parameters(self) -> list[Any]:
        return _parameters(self.names or translation.SearchOptions.model_fields)

    def get_params(self, ctx: Any) -> list[Any]:
        own = super().get_params(ctx)
        return [*own[:-1], *self.search_parameters, own[-1]]  # --help stays last

    def invoke(self, ctx: Any) -> Any:
        values = {parameter.name: ctx.params.pop(parameter.name) for parameter in self.search_parameters}
        given = {name: value for name, value in values.items() if value is not None}
        ctx.obj = translation.SearchOptions.from_values(given)
        return super().invoke(ctx)


def search_command(*names: str) -> type[SearchCommand]:
    """Make a command class with options for these fields of `SearchOptions`."""
    return type("SearchCommand", (SearchCommand,), {"names": names})


def _parameters(names: Iterable[str]) -> list[Any]:
    fields = translation.SearchOptions.model_fields
    names = [name for name in names if translation.options.option_of(name).flag != ""]
    return typer_parameters({name: (_annotation(name), _default(fields[name].default)) for name in names})


def typer_parameters(options: Mapping[str, tuple[Any, Any]]) -> list[Any]:
    """Make Typer parameters for options that are known only at run time.

    Args:
        options: For each parameter name, an annotation with a `typer.Option`, and the default.
    """

    def collect(**values: object) -> None:
        pass  # never called: Typer reads its signature

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    collect.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    app = typer.Typer(add_completion=False)
    app.command()(collect)
    return list(get_command(app).params)


def _annotation(name: str) -> Any:
    field, option = translation.SearchOptions.model_fields[name], translation.options.option_of(name)
    kind = list[str] | None if field.default == () else field.annotation
    made = typer.Option(
        option.flag or f"--{name.replace('_', '-')}",
        help=field.description,
        metavar=option.metavar,
        callback=checked(translation.SearchOptions, name),
        rich_help_panel=option.group,
    )
    return Annotated[kind, made]


def _default(value: object) -> object:
    return None if value == () else value


def checked(model: type[BaseModel], name: str) -> Callable[[Value], Value]:
    """Make a callback that validates a field of `model` during parsing, so that the message names the option."""

    def check(value: Value) -> Value:
        problem = None if value is None else allyouneed.config.descriptions.problem_with(model, name, value)
        if problem:
            raise typer.BadParameter(problem)
        return value

    return check
