"""Overlays: what each place of an image adds to its answer, drawn beside the report, named by number."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from fieldmark import storage
from fieldmark.errors import FieldmarkError, ImageError
from fieldmark.preprocessing import Pixels
from fieldmark.report.thumbnails import JPEG_QUALITY, Thumbnail


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


def nothing_drawn(looks: Sequence[Look]) -> Drawn:
    """What is drawn where there is no classifier."""
    return Drawn("", "the classifier file is not here", [None for _ in looks])


class Overlays:
    """Owner of the overlays of one report; `root` is the dataset's folder, `run` the run's."""

    def __init__(self, root: Path | None, run: Path, folder: Path) -> None:
        self._root = root
        self._run = run
        self._folder = folder
        self.names: set[str] = set()  # of all files written so far

    def __call__(self, looks: Sequence[Look]) -> Drawn:
        """Draw each look; costs about 50 ms an image of 224 × 224 pixels in EfficientNet-Lite0."""
        if not looks or self._root is None or not (self._run / "model.onnx").is_file():
            why = "the classifier file is not here" if self._root else "the images' folder is not known"
            return Drawn("", why, [None for _ in looks])
        try:
            return self._draw(self._root, looks)
        except (FieldmarkError, ValueError, LookupError) as error:
            # An own network may hold operators nobody foresaw: a report without these pictures beats none.
            return Drawn("", f"they cannot be drawn for this network: {error}", [None for _ in looks])

    def _draw(self, root: Path, looks: Sequence[Look]) -> Drawn:
        from fieldmark.classifier import load
        from fieldmark.explanation.contributions import contributions
        from fieldmark.explanation.graph import open_graph
        from fieldmark.images import formats

        classifier = load(self._run)
        graph, method, found = open_graph(classifier), "", list[Thumbnail | None]()
        for look in looks:
            try:
                pixels = formats.load(root / look.path, classifier.preprocessing)
            except (ImageError, OSError):
                found.append(None)
                continue
            seen = contributions(graph, graph.run(pixels), towards=look.towards, against=look.against)
            if seen.places is None:
                return Drawn(seen.method, seen.method, [None for _ in looks])
            method = seen.method
            found.append(self._write(pixels, seen.places))
        skipped = "" if any(found) else "the images cannot be read any more"
        return Drawn(method, skipped, found)

    def _write(self, pixels: Pixels, places: Any) -> Thumbnail:
        from fieldmark.explanation.pictures import overlay

        image = overlay(pixels, places)
        # The page shows them at some 200 pixels; the classes stand below, as text.
        image.thumbnail((320, 320), Image.Resampling.LANCZOS)
        name = f"look-{len(self.names) + 1}.jpg"
        content = io.BytesIO()
        image.save(content, "JPEG", quality=JPEG_QUALITY)
        storage.write_bytes(self._folder / name, content.getvalue())
        self.names.add(name)
        return {"file": name, "width": image.width, "height": image.height}
