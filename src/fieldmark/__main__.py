"""The `fieldmark` command: runs `cli.app.app` and turns errors into messages and exit codes.

0 done · 1 an error of Fieldmark itself · 2 the user's mistake · 3 nothing usable was found, or any file had a
problem and --strict was given · 130 interrupted, by Ctrl-C or by the system's SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from fieldmark.errors import FieldmarkError

INTERRUPTED = 130
HELP = "`fieldmark COMMAND --help` shows what can be given"


def main() -> int:
    """Run the command line; return the exit code."""
    # A name that the terminal's encoding lacks is written with escapes instead of ending the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        return _say("interrupted", "", INTERRUPTED)
    return code


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
