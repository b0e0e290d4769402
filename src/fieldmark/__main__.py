"""The `fieldmark` command: runs `cli.app.app` and turns errors into messages and exit codes.

0 done · 1 an error of Fieldmark itself · 2 the user's mistake · 3 nothing usable was found, or any file had a
problem and --strict was given · 130 interrupted, by Ctrl-C, by the system's SIGTERM,
or by the end of its terminal (SIGHUP).
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import Any, TextIO

from fieldmark.errors import FieldmarkError

INTERRUPTED = 130
HELP = "`fieldmark COMMAND --help` shows what can be given"


def main() -> int:
    """Run the command line; return the exit code."""
    _open_missing_streams()
    sys.stdout, sys.stderr = _tolerant(sys.stdout), _tolerant(sys.stderr)
    try:
        _keep_what_was_learnt()
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        return _say("interrupted", "", INTERRUPTED)
    return code


def _open_missing_streams() -> None:
    """Let /dev/null stand in for each standard stream that is closed, as services and `>&-` in a shell close them.

    Nobody listens there, and that is no mistake of the command: it works, writes its files and ends with its usual
    exit code. And it has to happen before anything is opened: the next file opened would get the free number 1 or 2,
    and a library's or a child's output would be written into that file, perhaps the classifier.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, mostly this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # as the standard streams are: child processes have them, too
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # so Python starts where a stream is closed, or a window has none
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123


class _Terminal(io.FileIO):
    """A terminal that may be closed while what was learnt is still being saved, which must not fail for that."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(content).nbytes


def _tolerant(stream: TextIO) -> TextIO:
    """The stream such that a letter its encoding lacks, which is written as an escape, or its end ends no command."""
    if stream.isatty() and os.name == "posix":
        terminal = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
        return io.TextIOWrapper(terminal, stream.encoding, "backslashreplace", line_buffering=True)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _keep_what_was_learnt() -> None:
    """Let what the system ends a process with, and the end of its terminal, do what Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    # nohup has it ignored, and means that
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _interrupt)


def _run() -> int:
    from typer.exceptions import TyperException

    from fieldmark.cli.app import app

    try:
        code = app(standalone_mode=False, prog_name="fieldmark")
    except FieldmarkError as error:
        return _say(str(error), error.hint or HELP, error.exit_code)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "fieldmark"
        return _say(error.format_message(), f"`{command} --help` shows what can be given", 2)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # any other that was not foreseen is an error of ours
            raise
        return _say(f"{str(error.filename)[:80]}...: {error.strerror}", "give a shorter path", 2)
    return code if isinstance(code, int) else 0


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _say(message: str, hint: str, code: int) -> int:
    sys.stderr.write(_visible(f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")))
    return code


def _visible(text: str) -> str:
    """The text with control characters written out: names in it could move the cursor, or turn the line around."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


if __name__ == "__main__":
    sys.exit(main())
