"""Problems: why a file or folder is not used, or is used with a remark. One literal table of codes.

Every file below the root ends either as an image of the dataset or as a row with one of these codes; none is
skipped without a word. The codes are part of the interface (`audit --json`, `predict --json`): add, never
rename.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


class ProblemKind(NamedTuple):
    """What a code means, and whether the image is used all the same."""

    meaning: str
    usable: bool = False


PROBLEMS: dict[str, ProblemKind] = {
    # the image cannot be used
    "empty_file": ProblemKind("the file holds no bytes"),
    "unreadable_file": ProblemKind("the system does not let us read the file: missing, permissions or a disk error"),
    "not_an_image": ProblemKind("the content is no image format that we know"),
    "unsupported_format": ProblemKind("the content is an image or document of a format that is not read"),
    "truncated": ProblemKind("the file ends before its image does, as after a broken copy or download"),
    "corrupt": ProblemKind("the content contradicts its own format and cannot be decoded whole"),
    "too_many_pixels": ProblemKind("the image is larger than the limit, by its own header or for want of memory"),
    "too_many_bytes": ProblemKind("the file is larger than any image within the limit of pixels needs"),
    "too_slow": ProblemKind("decoding took longer than a service gives one file"),
    "not_regular_file": ProblemKind("a pipe, socket, device or folder stands where a file belongs"),
    "broken_link": ProblemKind("a symbolic link that leads nowhere, or back to itself"),
    "name_not_utf8": ProblemKind("the name is not valid UTF-8 and cannot be written into results"),
    # never an image, never a class
    "hidden": ProblemKind("a hidden file or folder: its name begins with a dot"),
    "system_file": ProblemKind("a file or folder that an operating system or program keeps for itself"),
    "empty_class": ProblemKind("a class folder without a single usable image"),
    "link_loop": ProblemKind("a second way, by a link, into a folder that is read already; each is read once"),
    "unreadable_folder": ProblemKind("the system does not let us list the folder"),
    "loose_file": ProblemKind("a file beside the class folders, so that it belongs to no class"),
    "beside_splits": ProblemKind("a folder beside train/, validation/ and test/, so that it belongs to no split"),
    "run_folder": ProblemKind("the run of an earlier training, not a class"),
    "unknown_class": ProblemKind("an image of a class that the training split does not have"),
    # used all the same
    "suffix_mismatch": ProblemKind("the name says another format than the content; the content decides", True),
}

# What lies about in most folders and loses no image; listed, but no reason for `--strict` to fail.
CLUTTER = frozenset({"hidden", "system_file", "empty_class", "run_folder"})


@dataclasses.dataclass(frozen=True)
class Problem:
    """One finding about one path.

    >>> Problem("cats/1.jpg", "truncated", "the data ends early").to_json()
    {'path': 'cats/1.jpg', 'code': 'truncated', 'detail': 'the data ends early'}
    """

    path: str  # below the root, with forward slashes
    code: str  # a key of PROBLEMS
    detail: str  # a sentence for people

    def to_json(self) -> dict[str, str]:
        """Return the fields as they stand in `audit --json`."""
        return {"path": self.path, "code": self.code, "detail": self.detail}
