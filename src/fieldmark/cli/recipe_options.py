"""Recipe options: one option of a command for each field of Recipe; in a sweep, each takes several values."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fieldmark.networks.table import NETWORKS
from fieldmark.recipe import BY_NETWORK, CHOICES, Recipe, option

Field = dataclasses.Field[Any]
Command = Callable[..., Any]

KINDS: dict[str, Any] = {
    "bool": bool,
    "str": str,
    "str | None": str | None,
    "int": int,
    "int | None": int | None,
    "float": float,
    "float | None": float | None,
    "tuple[int, ...] | None": str | None,  # --channels, read by `numbers`
}
# What --help shows for a value; otherwise the choices, or the kind.
METAVARS = {"channels": "16,32,64", "network": "|".join(NETWORKS)}
SWEEP_METAVARS = {"channels": "16,32/16,32,64", "softmax": "yes,no", "group_by": "TEXT", "seed": "N"}


def meaning(name: str) -> str:
    """The help of a recipe's field: its meaning, its choices or unit, where its default comes from."""
    field = next(each for each in dataclasses.fields(Recipe) if each.name == name)
    text: str = field.metadata["meaning"]
    unit = field.metadata["unit"]
    text = text[0].upper() + text[1:] + (f" ({unit})" if unit else "") + "."
    return f"{text} Default: the network's." if name in BY_NETWORK else text


def recipe_options(command: Command) -> Command:
    """Give a command one option for each field of Recipe, passed on as keyword arguments."""
    return _with_parameters(command, [_parameter(field) for field in dataclasses.fields(Recipe)])


def sweep_options(command: Command) -> Command:
    """As `recipe_options`, but each option takes several values between commas."""
    return _with_parameters(command, [_sweep_parameter(field) for field in dataclasses.fields(Recipe)])


def _with_parameters(command: Command, added: list[inspect.Parameter]) -> Command:
    """The command with these parameters, as Typer reads them, in place of its `**choices`."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]

    @functools.wraps(command)
    def run(**arguments: Any) -> Any:
        return command(**arguments)

    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return run


def _parameter(field: Field) -> inspect.Parameter:
    """The command-line option of one field of Recipe."""
    declared = typer.Option(
        option(field.name),
        help=meaning(field.name),
        metavar=METAVARS.get(field.name) or "|".join(CHOICES.get(field.name, ())) or None,
        callback=numbers if field.name == "channels" else None,
    )
    return _keyword(field.name, field.default, Annotated[KINDS[str(field.type)], declared])


def _sweep_parameter(field: Field) -> inspect.Parameter:
    """The command-line option of one field of Recipe that takes several values."""
    declared = typer.Option(
        option(field.name),
        help=meaning(field.name),
        metavar=SWEEP_METAVARS.get(field.name, "A,B,..."),
        callback=_several(field),
    )
    return _keyword(field.name, None, Annotated[str | None, declared])


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def numbers(text: str | None) -> tuple[int, ...] | None:
    """Numbers between commas, as --channels takes them."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text}: expected whole numbers between commas, such as 16,32,64") from None


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError(text)
    return text.lower() == "yes"


# How one value of a sweep is read; what is not here stays text.
READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _yes_or_no,
    "tuple[int, ...]": numbers,
}


def _several(field: Field) -> Callable[[str | None], Any]:
    """A reader for one option of a sweep: a list between commas (channels: between slashes), or the default."""
    kind = str(field.type).removesuffix(" | None")
    read = READERS.get(kind, str)
    separator = "/" if field.name == "channels" else ","

    def values(text: str | None) -> Any:
        if text is None:
            return field.default
        # A regular expression may hold commas itself
        parts = [text] if field.name == "group_by" else text.split(separator)
        try:
            found = [read(part.strip()) for part in parts]
        except ValueError:
            wanted = "yes or no" if kind == "bool" else f"values ({kind})"
            raise typer.BadParameter(f"{option(field.name)} {text}: expected {wanted} between commas") from None
        return found if len(found) > 1 else found[0]

    return values
