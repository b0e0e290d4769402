"""The house keeps its shape: imports point down, names on one floor do not know each other, nothing unpickles."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fieldmark

PACKAGE = Path(fieldmark.__file__).parent

# Bottom to top; names on one floor do not know each other. docs/design and README draw the same floors.
FLOORS = [
    {"errors"},
    {"storage", "preprocessing", "recipe"},
    {"images", "networks", "evaluation"},
    {"runs", "export", "classifier"},
    {"training"},
    {"report"},
    {"pipeline"},
    {"cli"},
    {"__main__", "__init__"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}

SLOW_TO_IMPORT = ("torch", "sklearn", "scipy", "onnx", "onnxruntime", "jinja2", "rich", "numpy", "PIL")
# What unpickles or runs what a file says; see "Model files" in the reliability notes (A4.1).
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load"}


def imported_names(path: Path) -> set[str]:
    """Modules or folders of the package named by any import in `path`, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, not with dots"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("fieldmark.")}


def violations(path: Path, package: Path) -> list[str]:
    own = path.relative_to(package).parts[0].removesuffix(".py")
    return [
        f"{own} must not import {other}"
        for other in sorted(imported_names(path) - {own})
        if not FLOOR_OF[other] < FLOOR_OF[own]
    ]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_down(path: Path) -> None:
    assert violations(path, PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("storage.py", "from fieldmark.training.head import fit_head"),
        ("images/scan.py", "from fieldmark.evaluation import metrics"),
        ("classifier.py", "def late():\n    import fieldmark.export"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, place: str, line: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(line + "\n")
    assert violations(path, tmp_path) != []


def test_every_room_has_a_floor() -> None:
    rooms = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert rooms - {"__pycache__", "py.typed"} == set(FLOOR_OF)


def test_all_is_the_sorted_public_names() -> None:
    assert fieldmark.__all__ == sorted(fieldmark.__all__)
    for name in fieldmark.__all__:
        assert getattr(fieldmark, name).__name__ == name


@pytest.mark.parametrize(
    "arguments", [["-c", "import fieldmark"], ["-m", "fieldmark", "--help"]], ids=["import", "help"]
)
def test_start_up_imports_nothing_slow(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    loaded = {
        line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line
    }
    assert loaded & set(SLOW_TO_IMPORT) == set()


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_unpickles_or_asserts(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
            assert names & FORBIDDEN_IMPORTS == set(), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in FORBIDDEN_CALLS, f"{path}:{node.lineno}"
            if called == "torch.load":
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert options.get("weights_only") == "True", f"{path}:{node.lineno}"
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
