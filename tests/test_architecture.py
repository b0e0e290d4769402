"""The house keeps its shape: imports point down, start-up is light, nothing unpickles. Each rule is broken once."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fieldmark

PACKAGE = Path(fieldmark.__file__).parent

# Bottom to top; names on one floor do not know each other. README lists the rooms from the top down.
FLOORS = [
    {"errors"},
    {"storage", "reading", "preprocessing", "recipe"},
    {"images", "networks", "evaluation"},
    {"runtime"},
    {"model_file"},
    {"runs", "export", "classifier"},
    {"embedding"},
    {"training", "checks", "explanation"},
    {"report"},
    {"evaluating", "grouping"},
    {"pipeline", "auditing"},
    {"comparing", "sweeping"},
    {"serving"},
    {"cli"},
    {"__main__", "__init__"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}

SLOW_TO_IMPORT = ("torch", "sklearn", "scipy", "onnx", "onnxruntime", "jinja2", "rich", "numpy", "PIL")
# What unpickles or runs what a file says: a classifier, a cache or a checkpoint may come from anybody.
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "print", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load"}


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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
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
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__pycache__", "py.typed"} == set(FLOOR_OF)


def test_all_is_the_sorted_public_names() -> None:
    assert fieldmark.__all__ == sorted(fieldmark.__all__)
    assert list(fieldmark._HOMES) == fieldmark.__all__
    for name in fieldmark.__all__:
        assert getattr(fieldmark, name).__name__ == name


def loaded_modules(arguments: list[str]) -> set[str]:
    """The top-level modules that a fresh Python process imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import fieldmark"], ["-m", "fieldmark", "--help"], ["-m", "fieldmark", "train", "--help"]],
    ids=["import", "help", "train help"],
)
def test_start_up_imports_nothing_slow(arguments: list[str]) -> None:
    assert loaded_modules(arguments) & set(SLOW_TO_IMPORT) == set()


def test_predict_imports_neither_torch_nor_sklearn(trained: Path, faces: Path) -> None:
    image = next((faces / "train" / "sad").glob("*.png"))
    loaded = loaded_modules(["-m", "fieldmark", "predict", str(trained), str(image)])
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "sklearn", "scipy", "onnx", "rich", "jinja2"} == set()


def test_explain_and_compare_do_not_import_torch(trained: Path, faces: Path, tmp_path: Path) -> None:
    image = next((faces / "train" / "sad").glob("*.png"))
    explained = loaded_modules(
        ["-m", "fieldmark", "explain", str(trained), str(image), "--out", str(tmp_path / "seen")]
    )
    assert "onnx" in explained
    assert "torch" not in explained
    assert "torch" not in loaded_modules(["-m", "fieldmark", "compare", str(trained), str(trained)])


def unsafe_lines(path: Path) -> list[str]:
    """What unpickles, runs text as code, asserts or prints: none of it belongs into the package."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            found += sorted(names & FORBIDDEN_IMPORTS)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            safe = any(
                keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True" for keyword in node.keywords
            )
            found += [called] if called in FORBIDDEN_CALLS or (called == "torch.load" and not safe) else []
        if isinstance(node, ast.Assert):
            found.append("assert")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_unpickles_asserts_or_prints(path: Path) -> None:
    assert unsafe_lines(path) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "torch.load('weights.pth')",
        "torch.load('weights.pth', weights_only=False)",
        "numpy.load('rows.npy')",
        "assert True",
        "print('done')",
    ],
)
def test_a_planted_unsafe_line_is_found(tmp_path: Path, line: str) -> None:
    path = tmp_path / "planted.py"
    path.write_text(f"def function():\n    {line}\n")
    assert len(unsafe_lines(path)) == 1


def test_a_planted_slow_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import numpy\n")
    assert "numpy" in loaded_modules(["-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import planted"])
