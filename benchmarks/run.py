"""Run every benchmark, one after the other: `make bench`. Each writes a file into results/ and prints its rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUESTIONS = {
    "commands.py": "How long does each command take, and how much memory does it hold?",
    "course_against_keras.py": "How fast does the course's network train, against Keras?",
    "gpu.py": "How fast does a GPU train from scratch, and to what accuracy?",
    "from_scratch.py": "How well does convnet learn from scratch with its defaults, over seeds?",
    "pretrained.py": "How fast is the pretrained path, and what does fine-tuning bring?",
    "reading.py": "How fast are images read, the first time and later, against Keras?",
    "predicting.py": "How fast are the answers for files, against ONNX Runtime alone, and in how much memory?",
    "serve.py": "How many images a second does the service answer, how fast is one, and what does overload do to it?",
    "larger_than_memory.py": "How fast, and in how much memory, is a training on 13 GB of pixels?",
    "trust.py": "Do intervals cover, are probabilities calibrated, are unfamiliar images told?",
    "trust_audit.py": "How much of what is wrong with a dataset does the audit find, and whom does it accuse?",
}


def main() -> None:
    """Run them in this environment."""
    for script, question in QUESTIONS.items():
        print(f"\n== {question} ({script})", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)


if __name__ == "__main__":
    main()
