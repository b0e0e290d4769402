"""Explaining: what the classifier looks at in one uploaded image, as pictures for a page and one sentence.

The functions of `fieldmark.explanation`, without a file: pictures become data URLs. It is all computed in one thread
of its own, one image after another, so that predictions keep the other cores.
"""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fieldmark.classifier import Classifier
from fieldmark.explanation import pictures
from fieldmark.explanation.contributions import Contributions, contributions
from fieldmark.explanation.explain import channels_together, draw_occlusion, sides
from fieldmark.explanation.graph import Graph, Values, open_graph
from fieldmark.explanation.occlusion import Occlusion, occlude
from fieldmark.explanation.words import sentence, sentence_of_places
from fieldmark.preprocessing import Pixels
from fieldmark.serving.refusals import Refusal

WAITING = 16  # explanations; each takes a part of a second, with occlusion more


class Stopped(Exception):
    """Nobody waits for this explanation any more."""


class Explainer:
    """Owner of the opened network, which takes some 50 MB, and of the thread that explains."""

    def __init__(self, classifier: Classifier, *, waiting: int = WAITING) -> None:
        self._classifier = classifier
        self._graph: Graph | None = None  # opened when it is first asked for, by the thread alone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._waiting = 0
        self._most_waiting = waiting

    async def explain(
        self,
        pixels: Pixels,
        probabilities: npt.NDArray[np.float32],
        *,
        label: str | None = None,
        parts: Collection[str] = ("activation",),
    ) -> dict[str, Any]:
        """Explain preprocessed pixels uint8 (height, width, channels), whose answer is known.

        `label` is a class, otherwise the answer; `parts` are any of activation, occlusion, layers. Returns {"label",
        "sentence", "image", "activation", "occlusion", "layers": [{"name", "shape", "picture"}], "problem"}; what was
        not asked for, or cannot be told, is None. Raises Refusal (429) where too many wait, MissingExtraError without
        onnx. A caller that is cancelled stops the work.
        """
        if self._waiting >= self._most_waiting:
            raise Refusal(
                429,
                "over_capacity",
                f"{self._waiting} explanations wait",
                hint="ask again in a moment",
                headers={"Retry-After": "1"},
            )
        stopped = threading.Event()
        self._waiting += 1
        try:
            work = self._thread.submit(self._explain, pixels, probabilities, label, parts, stopped)
            return await asyncio.wrap_future(work)
        finally:
            stopped.set()
            self._waiting -= 1

    def _explain(
        self,
        pixels: Pixels,
        probabilities: npt.NDArray[np.float32],
        label: str | None,
        parts: Collection[str],
        stopped: threading.Event,
    ) -> dict[str, Any]:
        classes = self._classifier.classes
        _, towards, against = sides(probabilities, classes, label)
        found: dict[str, Any] = {"label": classes[towards], "image": png_url(pictures.picture(pixels))}
        found |= {"activation": None, "occlusion": None, "layers": None, "problem": None}
        places = None
        _check(stopped)
        if "activation" in parts or "layers" in parts:
            graph = self._opened()
            values = graph.run(pixels)
            seen = _contributions(graph, values, towards, against)
            places = seen.places
            found |= _activation(pixels, seen) if "activation" in parts else {}
            found |= {"layers": draw_layers(graph, values, stopped)} if "layers" in parts else {}
        if "occlusion" in parts:
            covered = self._occlude(pixels, stopped)
            found["occlusion"] = png_url(draw_occlusion(pixels, covered, towards))
            return found | {"sentence": sentence(covered, towards, classes)}
        words = sentence_of_places(places, float(probabilities[towards]), classes[towards], classes[against])
        return found | {"sentence": words}

    def _opened(self) -> Graph:
        if self._graph is None:
            self._graph = open_graph(self._classifier, threads=1)
        return self._graph

    def _occlude(self, pixels: Pixels, stopped: threading.Event) -> Occlusion:
        def ask(images: Pixels) -> npt.NDArray[np.float32]:
            _check(stopped)
            return self._classifier.probabilities(images)

        return occlude(pixels, ask)


def _contributions(graph: Graph, values: Values, towards: int, against: int) -> Contributions:
    try:
        return contributions(graph, values, towards=towards, against=against)
    except (ValueError, LookupError) as error:
        # An own network may hold operators nobody foresaw
        return Contributions(None, 0.0, 0.0, f"no activation map: it cannot be drawn for this network: {error}")


def _activation(pixels: Pixels, seen: Contributions) -> dict[str, Any]:
    if seen.places is None:
        return {"problem": seen.method}
    return {"activation": png_url(pictures.overlay(pixels, seen.places))}


def draw_layers(graph: Graph, values: Values, stopped: threading.Event) -> list[dict[str, Any]]:
    """{"name", "shape": [channels, height, width], "picture"} of every layer that makes feature maps, in their order.

    Of a deep network fewer channels of each layer are drawn, so that an answer stays at some MB.
    """
    found = graph.feature_maps(values)
    layers = []
    for number, (layer, maps) in enumerate(found, start=1):
        _check(stopped)
        title = " ".join(part for part in (f"{number:02}", layer.name, layer.kind) if part)
        grid = pictures.feature_grid(maps, at_most=channels_together(len(found)))
        layers.append({"name": title, "shape": list(maps.shape), "picture": png_url(grid)})
    return layers


def png_url(picture: Image.Image) -> str:
    """A picture as a data URL.

    >>> png_url(Image.new("1", (1, 1)))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=3)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _check(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise Stopped
