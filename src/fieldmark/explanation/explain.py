"""Explain: what a classifier looks at in an image, as pictures, plain values and one sentence.

    fieldmark explain RUN photo.jpg --out seen/

From `model.onnx` alone, without torch: the feature maps after every layer, what each place adds to the answer, and
what the answer becomes while parts of the image are covered.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fieldmark import storage
from fieldmark.classifier import Classifier, load
from fieldmark.errors import ImageError, OutputError, RecipeError
from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW
from fieldmark.evaluation.predictions import answers
from fieldmark.explanation import pictures
from fieldmark.explanation.contributions import contributions
from fieldmark.explanation.graph import Graph, Layer, Values, open_graph
from fieldmark.explanation.occlusion import Occlusion, occlude
from fieldmark.explanation.words import TELLING, influences, sentence
from fieldmark.images import formats
from fieldmark.images.names import printable, some
from fieldmark.images.samples import legible
from fieldmark.preprocessing import Pixels

CHANNELS_SHOWN = 64  # of one layer
MAPS_SHOWN = 1200  # in the picture of all layers; a deep network shows fewer of each
COVERING = "a grey patch of a quarter of each side covers one part after another"


def explain(
    classifier: Classifier | str | os.PathLike[str],
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    out: str | Path,
    label: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Show what a classifier looks at; write pictures and explain.json into the new folder `out`.

    `classifier` is a loaded one, a run folder or a classifier file; `label` the class to explain, otherwise the answer
    of each image. Returns the content of explain.json: {"classifier", "classes", "images": [one an image, in the order
    given]}. Each image has a folder of its own, named by its number:

    - `image.png`: upright and resized, as the network saw it
    - `activation.png`: what each place adds to the log-odds of the class against the next likeliest
    - `occlusion.png`: by how much a grey patch there lowers the probability
    - `features.png`: the feature maps after every layer; `features/NN.png` each layer by itself, up to 64 channels

    A file that cannot be used becomes an entry with a problem. Raises ModelFileError for the classifier, RecipeError
    for a class it does not know or what is no path, OutputError if `out` holds something already, MissingExtraError
    without onnx.
    """
    loaded = classifier if isinstance(classifier, Classifier) else load(classifier)
    paths = _paths(images)
    if label is not None and label not in loaded.classes:
        raise RecipeError(
            f"{printable(label)}: no class of the classifier", hint=f"its classes are {some(loaded.classes)}"
        )
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists already; nothing is overwritten", hint="choose another --out")
    graph = open_graph(loaded)
    storage.make_folder(folder)
    entries = []
    for number, path in enumerate(paths, start=1):
        entries.append(_explain_file(loaded, graph, path, folder, f"{number:03}", label))
        if on_progress:
            on_progress(number, len(paths))
    result = {"classifier": str(loaded.path), "classes": list(loaded.classes), "images": entries}
    storage.write_json(folder / "explain.json", result)
    return result


def _paths(images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    given = list(images) if isinstance(images, Iterable) and not isinstance(images, str) else [images]
    for each in given:
        if not isinstance(each, str | os.PathLike):
            raise RecipeError(
                f"explain was given a {type(each).__name__}; expected the path of an image, or several",
                hint="write a picture or an array to a file first: PIL.Image.fromarray(array).save('image.png')",
            )
    return [Path(os.fspath(each)) for each in given]


def _explain_file(
    classifier: Classifier, graph: Graph, path: Path, folder: Path, name: str, label: str | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": printable(str(path)), "problem": None, "detail": ""}
    try:
        pixels = formats.load(path, classifier.preprocessing)
    except ImageError as error:
        return entry | {"problem": error.code, "detail": error.detail}
    _, familiarity = classifier.answers(pixels[None])
    found = explain_pixels(classifier, graph, pixels, folder, name, label=label)
    familiar = None if familiarity is None else float(familiarity[0])
    return entry | found | {"unfamiliar": familiar is not None and familiar < UNFAMILIAR_BELOW, "familiarity": familiar}


def explain_pixels(
    classifier: Classifier, graph: Graph, pixels: Pixels, folder: Path, name: str, *, label: str | None = None
) -> dict[str, Any]:
    """Explain one preprocessed image uint8 (height, width, channels); pictures go to `folder`/`name`/.

    Returns the image's entry of explain.json without its path; file names in it are below `folder`.
    """
    classes = classifier.classes
    occlusion = occlude(pixels, classifier.probabilities)
    answer, towards, against = sides(occlusion.uncovered, classes, label)
    values = graph.run(pixels)
    found = contributions(graph, values, towards=towards, against=against)
    folder_of_image = storage.make_folder(folder / name)
    speaks = f"orange speaks for {legible(classes[towards], towards + 1)}, purple against"
    storage.write_picture(folder_of_image / "image.png", pictures.picture(pixels))
    covering = draw_occlusion(pixels, occlusion, towards, f"covering: {speaks}")
    storage.write_picture(folder_of_image / "occlusion.png", covering)
    if found.places is not None:
        storage.write_picture(folder_of_image / "activation.png", pictures.overlay(pixels, found.places, speaks))
    return {
        "label": classes[answer],
        "probability": float(occlusion.uncovered[answer]),
        "probabilities": {each: float(p) for each, p in zip(classes, occlusion.uncovered, strict=True)},
        "explained": classes[towards],
        "against": classes[against],
        "sentence": sentence(occlusion, towards, classes),
        "influences": influences(occlusion, towards, classes),
        "image": f"{name}/image.png",
        "activation": {
            "file": f"{name}/activation.png" if found.places is not None else None,
            "method": found.method,
            "score": found.score,
            "rest": found.rest,
            "places": found.places.tolist() if found.places is not None else None,
        },
        "occlusion": {
            "file": f"{name}/occlusion.png",
            "method": COVERING,
            "tops": list(occlusion.tops),
            "lefts": list(occlusion.lefts),
            "patch": list(occlusion.patch),
            "drops": occlusion.drops(towards).tolist(),
        },
        "features": _draw_features(graph, values, folder, name),
    }


def sides(probabilities: npt.NDArray[np.floating], classes: Sequence[str], label: str | None) -> tuple[int, int, int]:
    """The answer of probabilities (classes,); the class explained, which `label` may choose; and its likeliest rival.

    >>> sides(np.array([0.2, 0.7, 0.1]), ("cat", "dog", "cow"), label="cow")
    (1, 2, 1)
    """
    answer = int(answers(probabilities[None].astype(np.float32))[0])
    towards = classes.index(label) if label is not None else answer
    return answer, towards, _rival(probabilities, towards)


def draw_occlusion(pixels: Pixels, occlusion: Occlusion, towards: int, caption: str = "") -> Image.Image:
    """By how much a grey patch lowers (orange) or raises (purple) the probability of a class, over the image."""
    drops = occlusion.drop_of_pixels(towards, pixels.shape[:2])
    return pictures.overlay(pixels, drops, caption, full=TELLING)  # changes too small for a word stay pale


def _rival(probabilities: np.ndarray[Any, Any], label: int) -> int:
    """The likeliest class beside this one; the class itself where it is the only one."""
    others = [other for other in np.argsort(-probabilities, kind="stable").tolist() if other != label]
    return int(others[0]) if others else label


def _draw_features(graph: Graph, values: Values, folder: Path, name: str) -> dict[str, Any]:
    """Draw the feature maps of every layer: each by itself, and all in one tall picture."""
    found = graph.feature_maps(values)
    if not found:
        return {"file": None, "layers": []}
    together = channels_together(len(found))
    pages, layers = [], []
    for number, (layer, maps) in enumerate(found, start=1):
        file = f"{name}/features/{number:02}.png"
        caption = _caption(number, layer, maps.shape, CHANNELS_SHOWN)
        storage.write_picture(folder / file, pictures.feature_grid(maps, caption, at_most=CHANNELS_SHOWN))
        pages.append(pictures.feature_grid(maps, _caption(number, layer, maps.shape, together), at_most=together))
        channels, height, width = maps.shape
        layers.append(
            {**dataclasses.asdict(layer), "file": file, "height": height, "width": width, "channels": channels}
        )
    storage.write_picture(folder / name / "features.png", pictures.stacked(pages))
    return {"file": f"{name}/features.png", "layers": layers}


def channels_together(layers: int) -> int:
    """How many channels of each of so many layers are shown where all are shown at once: whole rows of the grid."""
    whole_rows = MAPS_SHOWN // layers // pictures.COLUMNS * pictures.COLUMNS
    return min(CHANNELS_SHOWN, max(pictures.COLUMNS, whole_rows))


def _caption(number: int, layer: Layer, shape: tuple[int, ...], shown: int) -> str:
    channels, height, width = shape
    title = " ".join(part for part in (f"{number:02}", legible(layer.name, number), layer.kind) if part)
    some = f", the first {shown} shown" if channels > shown else ""
    return f"{title}: {height} x {width} x {channels}{some}"
