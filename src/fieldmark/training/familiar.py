"""Familiar: what a classifier file needs to tell images unlike its training set, from its own embeddings of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark import export
from fieldmark.evaluation.familiarity import fit_familiarity
from fieldmark.images.dataset import Dataset
from fieldmark.images.read import Images
from fieldmark.images.read import Progress as OnProgress
from fieldmark.runtime import BATCH, open_session, run_batches


@dataclasses.dataclass(frozen=True)
class Familiar:
    """A graph that tells how familiar an image is, where it can; how, for the file's metadata; a sentence on it."""

    graph: Any  # onnx.ModelProto
    table: dict[str, Any] | None
    note: str


def familiar(graph: Any, embeddings: npt.NDArray[np.float32], dataset: Dataset) -> Familiar:
    """Give a graph the output `familiarity`, from the embeddings (n, d) of the train split's images."""
    rows = dataset.rows("train")
    groups = [dataset.groups[row] for row in rows]
    found = fit_familiarity(embeddings, dataset.labels[rows], groups, classes=len(dataset.classes))
    if found is None:
        return Familiar(graph, None, "each class has one training image, so what is unlike them cannot be told")
    return Familiar(export.with_familiarity(graph, found), found.to_json(), found.note)


def familiar_by_itself(graph: Any, images: Images, *, threads: int | None, step: OnProgress) -> Familiar:
    """As `familiar`, from the graph's own output `embedding` for the train split."""
    if all(output.name != export.EMBEDDING for output in graph.graph.output):
        note = "an own network does not tell its features apart, so it cannot tell unfamiliar images"
        return Familiar(graph, None, note)
    rows, session = images.dataset.rows("train"), open_session(graph.SerializeToString(), threads=1)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    parts = []
    for (part,) in run_batches(session, [export.EMBEDDING], batches, prepare=images.pixels, workers=threads):
        parts.append(part)
        step(min(len(parts) * BATCH, len(rows)), len(rows))
    return familiar(graph, np.concatenate(parts), images.dataset)
