"""Thousands of requests made from the document of the interface, valid and invalid, to a real server (A5.11).

5,000 cases take about a minute; FIELDMARK_FUZZ_EXAMPLES=10 makes 340 of them, in seconds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import serving

# For each operation; 400 make 5,000 cases in all.
EXAMPLES = int(os.environ.get("FIELDMARK_FUZZ_EXAMPLES", "400"))
# What is an image, or a class of the dataset, stands in no schema: valid requests may be refused all the same.
LEFT_OUT = "positive_data_acceptance"


def apart(run: Path, faces: Path, folder: Path) -> Path:
    """A copy of a run and of its dataset, since corrections are written beside the images."""
    copy = shutil.copytree(run, folder / "run")
    told = json.loads((copy / "run.json").read_text("utf-8"))
    told["root"] = str(shutil.copytree(faces, folder / "faces"))
    (copy / "run.json").write_text(json.dumps(told), "utf-8")
    return copy


@pytest.mark.slow
def test_no_case_is_answered_as_the_document_does_not_say(trained: Path, faces: Path, tmp_path: Path) -> None:
    with serving(apart(trained, faces, tmp_path)) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
        command += ["--header", f"Authorization: Bearer {server.token}", "--max-examples", str(EXAMPLES)]
        command += ["--checks", "all", "--exclude-checks", LEFT_OUT, "--seed", "1", "--no-shrink"]
        command += ["--continue-on-failure", "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
        found = re.search(r"([\d,]+) generated", done.stdout)
        assert found is not None
        print(found[0], "in", re.findall(r"[\d.]+s(?= =)", done.stdout))  # for whoever runs it with -s
        assert int(found[1].replace(",", "")) >= 12.5 * EXAMPLES
        assert server.errors == []
        assert server.process.poll() is None
