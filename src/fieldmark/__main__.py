"""The `fieldmark` command: runs `cli.app` and turns errors into messages and exit codes.

0 done · 1 an error of Fieldmark itself · 2 the user's mistake · 3 nothing usable was found, or any file had a
problem and --strict was given · 130 interrupted.
"""

from __future__ import annotations

import os
import sys

from typer.exceptions import TyperException

from fieldmark.cli import app
from fieldmark.errors import FieldmarkError


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        code = app(standalone_mode=False, prog_name="fieldmark")
    except FieldmarkError as error:
        return _say(str(error), error.hint or "`fieldmark COMMAND --help` shows what can be given", error.exit_code)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "fieldmark"
        return _say(error.format_message(), f"`{command} --help` shows what can be given", 2)
    except KeyboardInterrupt:
        return _say("interrupted", "", 130)
    except BrokenPipeError:
        # The reader of our output has left; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _say(message: str, hint: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    return code


if __name__ == "__main__":
    sys.exit(main())
