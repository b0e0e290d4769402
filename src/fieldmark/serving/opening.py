"""Opening: shows the page in this user's browser, and the token to nobody else.

Every user of a machine can read the command lines of all, so the address does not go into the browser's: that names a
file which only this user can read and which leads to the address, as in Jupyter.
"""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={address}">
<title>Fieldmark</title><p><a href="{address}">Open the page</a></p></html>
"""


class Opening:
    """Owner of the file; use it in a `with` block. `on_failure` is called where no browser opens, maybe in a thread."""

    def __init__(self, on_failure: Callable[[], object], open_url: Callable[[str], bool] = webbrowser.open) -> None:
        self._on_failure = on_failure
        self._open_url = open_url
        self._folder: Path | None = None

    def __enter__(self) -> Opening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.done()

    def open(self, address: str) -> None:
        """Write the file and show it; in a thread, since some browsers keep their caller waiting."""
        try:
            file = self._write(_PAGE.format(address=html.escape(address)))
        except OSError:
            self._on_failure()
        else:
            threading.Thread(target=self._show, args=(file.as_uri(),), name="open", daemon=True).start()

    def done(self) -> None:
        """Remove the file: the browser has followed it, or nobody will any more. Any number of times."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, page: str) -> Path:
        self._folder = Path(tempfile.mkdtemp(prefix="fieldmark-"))  # of mode 0700
        file = self._folder / "open.html"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(page)
        return file

    def _show(self, url: str) -> None:
        opened = False
        with contextlib.suppress(webbrowser.Error, OSError):
            opened = self._open_url(url)
        if not opened:
            self._on_failure()
