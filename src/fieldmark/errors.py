"""Every error that Fieldmark raises on purpose; a user's mistake never shows a traceback.

FieldmarkError                 one clear message and a hint; exit code 2
├── DatasetError               the folder cannot be used as a dataset
│   ├── NothingUsableError     no file of it can be used; exit code 3
│   └── ConflictError          somebody else changed it meanwhile
├── ImageError                 one image cannot be used; carries a problem code, becomes a row
├── RecipeError                a choice that cannot be trained, such as an image too small for the network
├── TrainingError              the training itself went wrong, such as a loss that turned NaN
├── ModelFileError             a classifier file or run folder that is missing, damaged or foreign
├── ExportError                the exported file does not answer as the network does
├── OutputError                a place that cannot be written
└── MissingExtraError          an optional part of Fieldmark is not installed
"""

from __future__ import annotations


class FieldmarkError(Exception):
    r"""What was found, where and what was expected; `hint` says what to do. Both are one line: names may hold others.

    >>> str(FieldmarkError("a class\nof two lines: too small"))
    'a class\\nof two lines: too small'
    >>> error = FieldmarkError("photos: no such directory", hint="check the spelling")
    >>> str(error), error.hint, error.exit_code
    ('photos: no such directory', 'check the spelling', 2)
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(_one_line(message))
        self.hint = _one_line(hint)


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


class DatasetError(FieldmarkError):
    """The folder cannot be used as a dataset."""


class NothingUsableError(DatasetError):
    """Files were found, and not one of them can be used."""

    exit_code = 3


class ConflictError(DatasetError):
    """Somebody else has changed what was to be changed; nothing was written."""


class ImageError(FieldmarkError):
    """One image cannot be used.

    `code` is a key of `fieldmark.images.problems.PROBLEMS`, `detail` a sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        # Raised in another process, it comes back by what it is made with, not by the one message it becomes.
        return type(self), (self.code, self.detail)


class RecipeError(FieldmarkError):
    """A choice that cannot be trained."""


class TrainingError(FieldmarkError):
    """The training itself went wrong."""


class ModelFileError(FieldmarkError):
    """A classifier file or run folder is missing, damaged or foreign."""


class ExportError(FieldmarkError):
    """The exported file does not answer as the network does."""


class OutputError(FieldmarkError):
    """A place that cannot be written."""


class MissingExtraError(FieldmarkError):
    """An optional part of Fieldmark is not installed."""


def missing_extra(what: str, error: ImportError, *, extra: str = "train") -> MissingExtraError:
    """The one error for an absent part of an extra; an ImportError of our own modules is raised as it is."""
    if (error.name or "").startswith("fieldmark"):
        raise error
    return MissingExtraError(
        f"{what} needs {error.name}, which is not installed", hint=f"pip install 'fieldmark[{extra}]'"
    )
