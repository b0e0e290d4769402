"""Run every benchmark, one after the other: `make bench`. Each writes a file into results/ and prints its rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUESTIONS = {
    "commands.py": "How long does each command take, and how much memory does it hold?",
    "course_against_keras.py": "How fast does the course's network train, against Keras?",
    "trust_audit.py": "How much of what is wrong with a dataset does the audit find, and whom does it accuse?",
}


def main() -> None:
    """Run them in this environment."""
    for script, question in QUESTIONS.items():
        print(f"\n== {question} ({script})", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)


if __name__ == "__main__":
    main()
