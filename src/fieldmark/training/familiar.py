"""Familiar: what a classifier file needs to tell images unlike its training set, from what it sees in that."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.familiarity import Familiarity, fit_channel_familiarity, fit_familiarity
from fieldmark.images.dataset import Dataset
from fieldmark.images.read import Images
from fieldmark.images.read import Progress as OnProgress
from fieldmark.runtime import BATCH, EMBEDDING, open_session, run_batches
from fieldmark.training.familiarity_graph import CHANNELS, with_channels, with_familiarity, without_channels


@dataclasses.dataclass(frozen=True)
class Familiar:
    """A graph that tells how familiar an image is, where it can; how, for the file's metadata; a sentence on it."""

    graph: Any  # onnx.ModelProto
    table: dict[str, Any] | None
    note: str


class FindFamiliar(Protocol):
    """How a network trained by steps finds out what is familiar to it."""

    def __call__(self, graph: Any, images: Images, *, threads: int | None, step: OnProgress) -> Familiar:
        """Give the graph the output `familiarity`, from what it sees in the train split."""


def familiar(graph: Any, embeddings: npt.NDArray[np.float32], dataset: Dataset) -> Familiar:
    """Give a graph the output `familiarity`, from the embeddings (n, d) of the train split's images."""
    return _told(graph, fit_familiarity(embeddings, *_training(dataset), classes=len(dataset.classes)))


def familiar_by_itself(graph: Any, images: Images, *, threads: int | None, step: OnProgress) -> Familiar:
    """As `familiar`, from the graph's own output `embedding` for the train split."""
    (embeddings,) = _seen(graph, [EMBEDDING], images, threads=threads, step=step)
    return familiar(graph, embeddings, images.dataset)


def familiar_by_channels(graph: Any, images: Images, *, threads: int | None, step: OnProgress) -> Familiar:
    """As `familiar_by_itself`, from the channels of a network's first layers: for those trained from scratch.

    A network without convolutions is told by its embedding, if it has one.
    """
    embeds = any(output.name == EMBEDDING for output in graph.graph.output)
    if not with_channels(graph):
        if embeds:
            return familiar_by_itself(graph, images, threads=threads, step=step)
        note = "an own network without convolutions cannot tell unfamiliar images"
        return Familiar(graph, None, note)
    names = [CHANNELS, EMBEDDING] if embeds else [CHANNELS]
    statistics, *rest = _seen(graph, names, images, threads=threads, step=step)
    dataset = images.dataset
    found = fit_channel_familiarity(
        statistics, rest[0] if rest else None, *_training(dataset), classes=len(dataset.classes)
    )
    return _told(graph if found else without_channels(graph), found)


def _told(graph: Any, found: Familiarity | None) -> Familiar:
    if found is None:
        return Familiar(graph, None, "no class has two training images, so what is unlike them cannot be told")
    return Familiar(with_familiarity(graph, found), found.to_json(), found.note)


def _training(dataset: Dataset) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Labels and groups of the train split."""
    rows = dataset.rows("train")
    return dataset.labels[rows], [dataset.groups[row] for row in rows]


def _seen(
    graph: Any, names: list[str], images: Images, *, threads: int | None, step: OnProgress
) -> list[npt.NDArray[np.float32]]:
    """The graph's outputs for the train split."""
    rows, session = images.dataset.rows("train"), open_session(graph.SerializeToString(), threads=1)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    parts = []
    for outputs in run_batches(session, names, batches, prepare=images.pixels, workers=threads):
        parts.append(outputs)
        step(min(len(parts) * BATCH, len(rows)), len(rows))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
