"""Overlays: what each place of an image adds to its answer, and an image's way through the layers of the network.

Both are drawn beside the report from `model.onnx`, named by number.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fieldmark import storage
from fieldmark.errors import FieldmarkError, ImageError
from fieldmark.preprocessing import Pixels
from fieldmark.report.thumbnails import JPEG_QUALITY, Thumbnail

if TYPE_CHECKING:
    from fieldmark.classifier import Classifier
    from fieldmark.explanation.graph import Graph, Layer

# A picture of 32 channels takes 20-70 KB and about 15 ms; those of a deep network all together would take seconds.
LAYERS_SHOWN = 12
CHANNELS_SHOWN, COLUMNS = 32, 8
NO_CLASSIFIER = "the classifier file is not here"


class Look(NamedTuple):
    """A question to a network: what in this image speaks for one class rather than another?"""

    path: str
    towards: int  # class
    against: int  # class


class Drawn(NamedTuple):
    """The overlays of some looks, or why there are none."""

    method: str  # in words
    skipped: str  # why nothing was drawn; empty where something was
    pictures: list[Thumbnail | None]  # one a look; None for an image that cannot be read


class Layers(NamedTuple):
    """The feature maps of one image, layer by layer, or why there are none."""

    skipped: str  # why nothing was drawn; empty where something was
    total: int  # of all layers with feature maps
    shown: list[dict[str, Any]]  # {"number" from 1, "name", "kind", "channels", "height", "width", "shown", "picture"}


def nothing_drawn(looks: Sequence[Look]) -> Drawn:
    """What is drawn where there is no classifier."""
    return Drawn("", NO_CLASSIFIER, [None for _ in looks])


def no_layers(path: str) -> Layers:
    """The layers where there is no classifier."""
    return Layers(NO_CLASSIFIER, 0, [])


def spread_layers(count: int) -> list[int]:
    """The layers that are shown of so many, from 0: all of a shallow network, else evenly from first to last.

    >>> spread_layers(3), spread_layers(23)
    ([0, 1, 2], [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22])
    """
    places: list[int] = np.linspace(0, count - 1, min(count, LAYERS_SHOWN)).round().astype(int).tolist()
    return places


class Overlays:
    """Owner of the overlays of one report; `root` is the dataset's folder, `run` the run's."""

    def __init__(self, root: Path | None, run: Path, folder: Path) -> None:
        self._root = root
        self._run = run
        self._folder = folder
        self.names: set[str] = set()  # of all files written so far
        self._made: dict[Look, tuple[str, Thumbnail | None]] = {}  # the method in words, and the picture

    def __call__(self, looks: Sequence[Look]) -> Drawn:
        """Draw each look, each once; costs about 60 ms an image of 224 × 224 pixels in EfficientNet-Lite0."""
        nothing: list[Thumbnail | None] = [None for _ in looks]
        if not looks or (why := self._missing()):
            return Drawn("", why if looks else "there are no images", nothing)
        try:
            return self._draw(looks)
        except (FieldmarkError, ValueError, LookupError) as error:
            # An own network may hold operators nobody foresaw: a report without these pictures beats none.
            return Drawn("", f"they cannot be drawn for this network: {error}", nothing)

    def layers(self, path: str) -> Layers:
        """Draw the feature maps of one image after some layers, evenly spread; costs about a third of a second."""
        if why := self._missing():
            return Layers(why, 0, [])
        try:
            pixels = self._load(path)
            if pixels is None:
                return Layers("the image cannot be read any more", 0, [])
            _, graph = self._opened
            found = graph.feature_maps(graph.run(pixels))
        except (FieldmarkError, ValueError, LookupError) as error:
            return Layers(f"they cannot be drawn for this network: {error}", 0, [])
        if not found:
            return Layers("no layer of this network makes a picture", 0, [])
        shown = [self._layer(place, *found[place]) for place in spread_layers(len(found))]
        return Layers("", len(found), shown)

    def _missing(self) -> str:
        """Why nothing can be drawn, if that is known beforehand."""
        if self._root is None:
            return "the images' folder is not known"
        return "" if (self._run / "model.onnx").is_file() else NO_CLASSIFIER

    @functools.cached_property
    def _opened(self) -> tuple[Classifier, Graph]:
        from fieldmark.classifier import load
        from fieldmark.explanation.graph import open_graph

        classifier = load(self._run)
        return classifier, open_graph(classifier)

    def _load(self, path: str) -> Pixels | None:
        """The image as the network sees it; None where it cannot be read."""
        from fieldmark.images import formats

        classifier, _ = self._opened
        try:
            return formats.load(Path(self._root or "", path), classifier.preprocessing)
        except (ImageError, OSError):
            return None

    def _draw(self, looks: Sequence[Look]) -> Drawn:
        from fieldmark.explanation.contributions import contributions

        _, graph = self._opened
        for look in looks:
            if look in self._made:
                continue
            pixels = self._load(look.path)
            if pixels is None:
                self._made[look] = "", None
                continue
            seen = contributions(graph, graph.run(pixels), towards=look.towards, against=look.against)
            if seen.places is None:
                return Drawn(seen.method, seen.method, [None for _ in looks])
            self._made[look] = seen.method, self._overlay(pixels, seen.places)
        found = [self._made[look] for look in looks]
        method = next((method for method, _ in found if method), "")
        return Drawn(method, "" if method else "the images cannot be read any more", [picture for _, picture in found])

    def _overlay(self, pixels: Pixels, places: Any) -> Thumbnail:
        from fieldmark.explanation.pictures import overlay

        image = overlay(pixels, places)
        # The page shows them at some 200 pixels; the classes stand below, as text.
        image.thumbnail((320, 320), Image.Resampling.LANCZOS)
        return self._write("look", image, "JPEG", quality=JPEG_QUALITY)

    def _layer(self, place: int, layer: Layer, maps: npt.NDArray[np.float32]) -> dict[str, Any]:
        from fieldmark.explanation.pictures import feature_grid

        channels, height, width = maps.shape
        columns, shown = min(COLUMNS, channels), min(CHANNELS_SHOWN, channels)
        picture = self._write("layer", feature_grid(maps, at_most=shown, columns=columns), "PNG")
        about = {"number": place + 1, "name": layer.name, "kind": layer.kind}
        size = {"channels": channels, "height": height, "width": width, "shown": shown}
        return {**about, **size, "picture": picture}

    def _write(self, what: str, image: Image.Image, kind: str, **options: Any) -> Thumbnail:
        name = f"{what}-{len(self.names) + 1}.{'jpg' if kind == 'JPEG' else 'png'}"
        content = io.BytesIO()
        image.save(content, kind, **options)
        storage.write_bytes(self._folder / name, content.getvalue())
        self.names.add(name)
        return {"file": name, "width": image.width, "height": image.height}
