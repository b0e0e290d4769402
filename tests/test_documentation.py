"""What the documents say is what the code does: generated pages are fresh, examples run, trees equal the disk."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fieldmark
from fieldmark.__main__ import main
from fieldmark.cli.app import COMMANDS
from fieldmark.images.augment import AUGMENTATIONS
from fieldmark.recipe import Recipe
from fieldmark.runs import FILES

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fieldmark.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")


def generator() -> object:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands", "recipe", "problems", "groups", "report"])
def test_generated_pages_are_fresh(page: str) -> None:
    module = generator()
    fresh = module.NOTICE + module.PAGES[page]()  # type: ignore[attr-defined]
    assert (ROOT / "docs" / "reference" / f"{page}.md").read_text("utf-8") == fresh, "run python docs/generate.py"


MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py" and ">>>" in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert results.attempted > 0
    assert results.failed == 0


def test_the_readme_names_every_command() -> None:
    for command in COMMANDS:
        assert f"fieldmark {command.__name__}" in README


def test_the_reference_has_a_section_for_every_command() -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    assert re.findall(r"^## fieldmark (\w+)", page, re.MULTILINE) == [command.__name__ for command in COMMANDS]


def test_every_command_of_the_readme_exists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in sorted(set(re.findall(r"^ *fieldmark ([a-z]+)", README, re.MULTILINE))):
        monkeypatch.setattr(sys, "argv", ["fieldmark", command, "--help"])
        assert main() == 0, command
        capsys.readouterr()


def test_the_readme_s_python_runs(faces: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = block.replace('"photos/"', repr(str(faces))).replace('"new.jpg"', repr(str(next(faces.rglob("*.png")))))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tree_of_the_readme_equals_the_disk() -> None:
    (tree,) = re.findall(r"```text\nsrc/fieldmark/\n(.*?)```", README, re.DOTALL)
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    on_disk = {path.name for path in PACKAGE.iterdir()} - {"__pycache__", "py.typed"}
    assert named == on_disk


def test_the_readme_names_every_file_of_a_run() -> None:
    (section,) = re.findall(r"## What a run leaves\n(.*?)\n## ", README, re.DOTALL)
    assert sorted(re.findall(r"`(\w+[./]\w*?)/?`", section)) == sorted(
        f"{name}/" if "." not in name else name for name in FILES
    )


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_changelog_names_this_version() -> None:
    assert f"## {fieldmark.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_help_names_every_augmentation() -> None:
    (field,) = (field for field in dataclasses.fields(Recipe) if field.name == "augmentation")
    for name in AUGMENTATIONS:
        assert name in field.metadata["meaning"]
