"""The demo dataset: happy and sad faces, drawn here, so that the whole job runs without any download.

A few faults are planted for the audit to find: PLANTED.
"""

from __future__ import annotations

import io
import random
from pathlib import Path

from fieldmark.errors import OutputError
from fieldmark.images.faces import draw_face
from fieldmark.storage import cannot_write, make_folder

MOODS = ("happy", "sad")
IMAGES_PER_CLASS = {"train": 150, "validation": 40}

TRUNCATED = "truncated: only the first half of the file is there"
WRONG_LABEL = "wrong label: a face of the other class"
COPY_OF = "copy of "
PLANTED = {
    "train/happy/face_024.jpg": TRUNCATED,
    "train/sad/face_101.png": WRONG_LABEL,
    "validation/sad/face_017.png": COPY_OF + "train/sad/face_058.png",
}


def draw_demo(folder: Path, *, seed: int = 0) -> None:
    """Draw the dataset into `folder`: {train,validation}/{happy,sad}/face_001.png and so on.

    The same seed gives the same bytes, with the same version of Pillow. Raises OutputError if the folder is
    not empty or cannot be written.
    """
    _require_empty(folder)
    for split, count in IMAGES_PER_CLASS.items():
        for mood in MOODS:
            make_folder(folder / split / mood)
            for number in range(1, count + 1):
                name = f"{split}/{mood}/face_{number:03}.{'png' if number % 3 else 'jpg'}"
                _write(folder / name, file_content(name, seed=seed))


def file_content(name: str, *, seed: int) -> bytes:
    """Return the bytes of one file of the dataset, planted fault included; `name` as in PLANTED."""
    fault = PLANTED.get(name, "")
    if fault.startswith(COPY_OF):
        return file_content(fault.removeprefix(COPY_OF), seed=seed)
    mood = name.split("/")[1]
    if fault == WRONG_LABEL:
        mood = next(other for other in MOODS if other != mood)
    rng = random.Random(f"{seed}/{name}")
    file = io.BytesIO()
    draw_face(rng, mood).save(file, "PNG" if name.endswith(".png") else "JPEG", quality=rng.randint(80, 95))
    content = file.getvalue()
    return content[: len(content) // 2] if fault == TRUNCATED else content


def _require_empty(folder: Path) -> None:
    try:
        in_use = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise cannot_write(folder, error) from error
    if in_use:
        raise OutputError(
            f"cannot draw the demo dataset into {folder}: it is not an empty directory",
            hint="remove it, or choose another place with --out",
        )


def _write(path: Path, content: bytes) -> None:
    # Not storage.write_bytes: what is drawn can be drawn again, and 380 waits for the disk add up.
    try:
        path.write_bytes(content)
    except OSError as error:
        raise cannot_write(path, error) from error
