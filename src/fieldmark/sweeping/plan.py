"""Plan: every training of a sweep, checked before the first one begins, and which of them are done."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldmark import runs, storage
from fieldmark.errors import OutputError, RecipeError
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe, option
from fieldmark.runs import Run
from fieldmark.training.choices import choose


@dataclasses.dataclass(frozen=True)
class Planned:
    """One training of a sweep, not done yet."""

    choice: str  # what is varied, in words: "image_size 150"
    choices: dict[str, Any]  # fields of Recipe, the seed among them
    recipe: Recipe  # with the network's defaults filled in
    preprocessing: Preprocessing
    folder: Path


def plan_sweep(choices: Mapping[str, Any], *, seeds: int, folder: Path) -> list[Planned]:
    """Every training of a sweep, each recipe checked. Raises RecipeError, also for two that would be the same.

    >>> plan = plan_sweep({"network": "course", "image_size": [75, 150]}, seeds=2, folder=Path("out"))
    >>> [each.folder.name for each in plan]
    ['image-size-75_seed-0', 'image-size-75_seed-1', 'image-size-150_seed-0', 'image-size-150_seed-1']
    """
    varied = {name: list(values) for name, values in choices.items() if isinstance(values, list)}
    fixed = {name: value for name, value in choices.items() if name not in varied}
    for name, values in varied.items():
        if not values:
            raise RecipeError(f"{option(name)}: no value to try")
        if name in ("seed", "group_by"):
            raise RecipeError(f"{option(name)}: one value at a time", hint="--seeds 3 trains with three seeds")
    first_seed = fixed.pop("seed", 0)
    plan = []
    for combination in itertools.product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        several = {name: value for name, value in chosen.items() if len(varied[name]) > 1}
        for seed in range(first_seed, first_seed + seeds):
            own = {**fixed, **chosen, "seed": seed}
            network = own.pop("network", Recipe.network)
            recipe, preprocessing = choose(network, own)
            words = ", ".join(f"{name} {_shown(value)}" for name, value in several.items()) or "as given"
            parts = [f"{option(name)[2:]}-{_shown(value)}" for name, value in several.items()] + [f"seed-{seed}"]
            place = folder / re.sub(r"[^\w.-]+", "-", "_".join(parts))
            plan.append(Planned(words, {"network": network, **own}, recipe, preprocessing, place))
    if len({each.folder for each in plan}) < len(plan):
        raise RecipeError("a value is named twice", hint="name every value once")
    return plan


def _shown(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def is_finished(planned: Planned, fingerprint: str) -> bool:
    """Whether the run is there already. Raises OutputError if its folder holds a finished run of something else."""
    file = planned.folder / "run.json"
    if not file.is_file():
        return False
    run = Run(planned.folder)
    info = run.info
    recipe = Recipe.from_json(run.recipe)
    if info.get("interrupted"):
        return False
    if recipe != planned.recipe or info.get("dataset_fingerprint") != fingerprint:
        what = "another recipe" if recipe != planned.recipe else "other images"
        raise OutputError(
            f"{planned.folder}: holds a finished run of {what}; it is not overwritten",
            hint="choose another --out for this sweep",
        )
    return True


def remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted training left, and nothing else."""
    if not folder.exists():
        return
    foreign = (
        sorted(path.name for path in folder.iterdir() if path.name not in runs.FILES) if folder.is_dir() else ["?"]
    )
    # A file that was being written when the process was killed: storage's own temporary name
    foreign = [name for name in foreign if not (name.startswith(".") and name.endswith(".tmp"))]
    if foreign:
        raise OutputError(
            f"{folder}: holds {foreign[0]}, which no training wrote", hint="move it, or choose another --out"
        )
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise storage.cannot_write(folder, error) from error
