"""Model file: the seal and the metadata of a `model.onnx`, checked before it answers anything.

The seal is a SHA-256 over every other byte. It tells a damaged file, not a forged one: who changes the file can seal it
anew. So whatever the metadata say is compared with the graph, too.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from fieldmark import reading
from fieldmark.errors import ModelFileError
from fieldmark.preprocessing import Preprocessing
from fieldmark.runtime import INPUT, PROBABILITIES

FORMAT = 1  # of the metadata; another one where what is written today would be misread
SEAL = b"fieldmark_sha256\x12\x40"  # key, then the protobuf tag and length of the 64 characters that follow
_NEWER = "it may come from a newer Fieldmark: update it"


def seal_of(content: bytes) -> bytes:
    """The SHA-256 over all else of a file that has one: `check_seal` says whether it fits."""
    start = content.rfind(SEAL) + len(SEAL)
    return content[start : start + 64]


def check_seal(path: Path, content: bytes) -> None:
    """Raise ModelFileError unless the content has Fieldmark's seal and the seal fits every byte."""
    start = content.rfind(SEAL) + len(SEAL)
    if start < len(SEAL):
        raise ModelFileError(
            f"{path}: not a classifier made by Fieldmark, or one that was cut short (no seal in {len(content)} bytes)",
            hint="give the model.onnx of a run folder, whole; other ONNX files lack class names and preprocessing",
        )
    digest = hashlib.sha256(content[:start])
    digest.update(b"0" * 64)
    digest.update(content[start + 64 :])
    if content[start : start + 64] != digest.hexdigest().encode():
        raise ModelFileError(
            f"{path}: damaged: its content does not fit its SHA-256 seal",
            hint="copy the file again, or train again",
        )


def read_metadata(path: Path, session: Any) -> dict[str, Any]:
    """Return what a graph says of itself: its classes, preprocessing, recipe and measures.

    Raises ModelFileError where something is missing, of another format, or does not fit the graph of `session`.
    """
    try:
        metadata = reading.parse_object(session.get_modelmeta().custom_metadata_map["fieldmark"])
        _require_format(path, metadata.get("format", FORMAT))  # the first files had no such field
        for name in ("preprocessing", "recipe"):
            if not isinstance(metadata.get(name, {}), dict):
                raise ValueError(f"its {name} is {reading.kind_of(metadata[name])}; expected an object")
        _require_classes(metadata["classes"])
        _require_graph(session, len(metadata["classes"]), Preprocessing.from_json(metadata["preprocessing"]))
    except KeyError as error:
        raise ModelFileError(f"{path}: its metadata lacks {error}", hint=_NEWER) from error
    except (ValueError, TypeError) as error:
        raise ModelFileError(
            f"{path}: its metadata cannot be used: {error}", hint=f"{_NEWER}; or train again"
        ) from error
    return metadata


def _require_format(path: Path, found: Any) -> None:
    shown, read = _shown(found), str(FORMAT)
    if type(found) is not int:
        kind = reading.kind_of(found)
        shown, read = shown if shown == kind else f"{shown}, {kind}", f"the number {FORMAT}"
    if shown != read:
        raise ModelFileError(f"{path}: a classifier file of format {shown}; this Fieldmark reads {read}", hint=_NEWER)


def _require_classes(names: Any) -> None:
    """Raise ValueError unless these are names that every answer can be told by."""
    if not isinstance(names, list) or not names:
        raise ValueError(f"its classes are {_shown(names)}; expected an array of names")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a class is called {_shown(name)}; expected a string that is not empty")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} classes are called {name}; expected each name once")


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]


def _require_graph(session: Any, classes: int, preprocessing: Preprocessing) -> None:
    """Raise ValueError unless the graph takes what the preprocessing makes, and answers for so many classes."""
    inputs = {each.name: each for each in session.get_inputs()}
    if list(inputs) != [INPUT] or inputs[INPUT].type != "tensor(uint8)":
        raise ValueError(f"its graph takes {', '.join(inputs)}; expected {INPUT} of uint8")
    if tuple(inputs[INPUT].shape[1:]) != preprocessing.shape:
        shape = " × ".join(map(str, inputs[INPUT].shape[1:]))
        made = " × ".join(map(str, preprocessing.shape))
        raise ValueError(f"its graph takes images of {shape}; the preprocessing makes {made}")
    outputs = {each.name: each.shape for each in session.get_outputs()}
    if PROBABILITIES not in outputs:
        raise ValueError(f"its graph answers {', '.join(outputs)}; expected {PROBABILITIES}")
    if list(outputs[PROBABILITIES][1:]) != [classes]:
        answers_of = ", ".join(map(str, outputs[PROBABILITIES][1:]))
        raise ValueError(f"{classes} classes are named; its graph answers for {answers_of}")
