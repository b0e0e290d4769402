"""The command line as scripts rely on it: stdout, stderr, exit codes; and one clear sentence for each mistake."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from fieldmark import __version__
from fieldmark.__main__ import _say, main
from fieldmark.images.problems import PROBLEMS
from tests.no_torch import NO_TORCH


class Done(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def fieldmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run one command in an empty directory, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["fieldmark", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.mark.parametrize("option", ["--out", "--corrections", "--validation"])
def test_a_name_longer_than_the_system_allows(fieldmark: Command, option: str, faces: Path) -> None:
    done = fieldmark("train", faces, option, "a" * 4000)
    assert done.code == 2
    assert "File name too long" in done.err
    assert "hint:" in done.err


def test_an_error_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert _say("a\x1b[2J\u202eb: no class", "look", 2) == 2
    assert capsys.readouterr().err == "error: a\\x1b[2J\\u202eb: no class\nhint: look\n"


def test_a_name_with_a_line_break_leaves_an_error_one_line(fieldmark: Command, faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "train" / "sad", tmp_path / "data" / "two\nlines")
    done = fieldmark("train", tmp_path / "data")
    assert done.code == 2
    assert len(done.err.splitlines()) == 2, done.err  # the error and its hint
    assert r"one class only, two\nlines" in done.err


def test_without_a_command_the_help_is_shown(fieldmark: Command) -> None:
    done = fieldmark()
    assert (done.code, done.out) == (2, "")
    assert done.err == fieldmark("--help").out
    assert done.err.startswith("Usage: fieldmark [OPTIONS] COMMAND")


def test_the_version(fieldmark: Command) -> None:
    assert fieldmark("--version") == Done(0, f"fieldmark {__version__}\n", "")


TRAIN = ("--network", "course", "--image-size", 24, "--channels", "8", "--epochs", 1, "--batch-size", 16)


class TestTrain:
    def test_the_run_folder_is_as_scripts_rely_on(self, fieldmark: Command, faces: Path) -> None:
        done = fieldmark("train", faces, *TRAIN, "--json")
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert result["run"] == f"runs{os.sep}{faces.name}-1"
        folder = Path(result["run"])
        assert {path.name for path in folder.iterdir()} == {
            *("model.onnx", "recipe.json", "dataset.csv", "history.csv", "predictions.csv", "metrics.json"),
            *("report.html", "report_files", "checkpoints", "run.json", "audit.json", "mistakes.json"),
        }
        assert result["seconds"]["total"] > 0
        metrics = json.loads((folder / "metrics.json").read_text())
        assert {name: result[name] for name in metrics} == metrics
        assert {
            *("n", "groups", "accuracy", "accuracy_interval", "balanced_accuracy", "log_loss", "ece"),
            *("per_class", "confusion", "classes"),
        } <= metrics["validation"].keys()
        with (folder / "history.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert list(row) == [
            *("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
            *("learning_rate", "seconds", "images_per_second"),
        ]
        assert "epoch  1/1" in done.err
        assert json.loads((folder / "run.json").read_text())["dataset_fingerprint"]

    def test_a_run_is_never_overwritten(self, fieldmark: Command, faces: Path, trained: Path) -> None:
        done = fieldmark("train", faces, *TRAIN, "--out", trained)
        assert (done.code, done.out) == (2, "")
        assert "exists already" in done.err

    def test_quiet_is_quiet(self, fieldmark: Command, faces: Path) -> None:
        done = fieldmark("train", faces, *TRAIN, "--quiet")
        assert done.code == 0
        assert done.err == ""
        assert "validation accuracy" in done.out

    def test_strict_fails_on_a_bad_file(self, fieldmark: Command, faces: Path, tmp_path: Path) -> None:
        bad = shutil.copytree(faces, tmp_path / "bad")
        (bad / "train" / "sad" / "bad.png").write_bytes(b"bad")
        done = fieldmark("train", bad, *TRAIN, "--strict")
        assert done.code == 3
        assert "not_an_image (1)" in done.err


class TestPredict:
    def test_answers_come_in_the_order_given(self, fieldmark: Command, faces: Path, trained: Path) -> None:
        one, two = sorted((faces / "validation" / "happy").iterdir())[:2]
        done = fieldmark("predict", trained, two, "absent.jpg", one, two, "--json")
        rows = [json.loads(line) for line in done.out.splitlines()]
        assert [row["path"] for row in rows] == [str(two), "absent.jpg", str(one), str(two)]
        assert rows[0] == rows[3]
        assert rows[1] == {
            "path": "absent.jpg",
            "label": None,
            "probability": None,
            "probabilities": {},
            "unfamiliar": False,
            "familiarity": None,
            "problem": "unreadable_file",
        }
        assert set(rows[0]["probabilities"]) == {"happy", "sad"}
        assert 0 <= rows[0]["familiarity"] <= 1
        assert rows[0]["unfamiliar"] == (rows[0]["familiarity"] < 0.01)
        assert sum(rows[0]["probabilities"].values()) == pytest.approx(1)
        assert (done.code, done.err) == (0, "1 of 4 files could not be used\n")

    def test_strict_and_nothing_usable(self, fieldmark: Command, faces: Path, trained: Path) -> None:
        good = next((faces / "validation" / "happy").iterdir())
        assert fieldmark("predict", trained, good, "absent.jpg", "--strict").code == 3
        assert fieldmark("predict", trained, "absent.jpg").code == 3

    def test_folders_patterns_and_stdin(
        self, fieldmark: Command, faces: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = faces / "validation" / "happy"
        count = len(list(folder.iterdir()))
        assert len(fieldmark("predict", trained, folder).out.splitlines()) == count
        assert len(fieldmark("predict", trained, folder / "*.png").out.splitlines()) == len(list(folder.glob("*.png")))
        below = len([path for path in folder.parent.rglob("*") if path.is_file()])
        assert len(fieldmark("predict", trained, folder.parent, "--recursive").out.splitlines()) == below
        done = fieldmark("predict", trained, folder.parent)
        assert (done.code, done.out) == (3, "")
        names = b"".join(os.fsencode(path) + b"\n" for path in sorted(folder.iterdir()))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))
        assert len(fieldmark("predict", trained, "-").out.splitlines()) == count

    def test_csv(self, fieldmark: Command, faces: Path, trained: Path) -> None:
        done = fieldmark("predict", trained, next((faces / "validation" / "sad").iterdir()), "absent.jpg", "--csv")
        rows = list(csv.DictReader(io.StringIO(done.out)))
        names = ["path", "label", "probability", "p:happy", "p:sad", "familiarity", "unfamiliar", "problem"]
        assert list(rows[0]) == names
        assert 0 <= float(rows[0]["familiarity"]) <= 1
        assert rows[1]["familiarity"] == ""
        assert float(rows[0]["p:happy"]) + float(rows[0]["p:sad"]) == pytest.approx(1)
        assert rows[1]["problem"] == "unreadable_file"

    def test_a_name_cannot_move_the_cursor(
        self, fieldmark: Command, faces: Path, trained: Path, tmp_path: Path
    ) -> None:
        evil = tmp_path / "\x1b[2Jevil.png"
        shutil.copy(next((faces / "validation" / "sad").glob("*.png")), evil)
        done = fieldmark("predict", trained, evil)
        assert "\x1b" not in done.out + done.err
        assert "\\x1b[2Jevil.png" in done.out


class TestAuditAndEvaluate:
    def test_audit_finds_what_the_demo_planted(self, fieldmark: Command, faces: Path) -> None:
        done = fieldmark("audit", faces, "--json")
        found = json.loads(done.out)
        assert done.code == 0
        assert [problem["code"] for problem in found["problems"]] == ["truncated"]
        assert len(found["duplicates"]) == len(found["leaks"]) == 1
        assert found["leaks"][0]["distance"] == 0
        assert {*found["leaks"][0].values()} >= {*found["duplicates"][0]}
        assert found["images"] == sum(found["classes"].values())
        assert set(found["splits"]) == {"train", "validation"}
        assert set(found["groups"]) >= {"rule", "count"}
        assert all(problem["code"] in PROBLEMS for problem in found["problems"])
        assert fieldmark("audit", faces, "--strict").code == 3

    def test_evaluate(self, fieldmark: Command, faces: Path, trained: Path) -> None:
        found = json.loads(fieldmark("evaluate", trained, faces / "validation", "--json").out)
        metrics = json.loads((trained / "metrics.json").read_text())["validation"]
        assert found["n"] == metrics["n"]
        assert found["accuracy"] == metrics["accuracy"]
        assert found["confusion"] == metrics["confusion"]
        assert len(found["mistakes"]) == round(found["n"] * (1 - found["accuracy"]))
        assert found["mistakes"][0].keys() == {"path", "label", "predicted", "probability"}

    def test_evaluate_by_stated_costs(self, fieldmark: Command, faces: Path, trained: Path) -> None:
        where = (trained, faces / "validation")
        text = fieldmark("evaluate", *where, "--costs", "1,10").out
        found = json.loads(fieldmark("evaluate", *where, "--costs", "1,10", "--json").out)
        chosen = found["threshold"]
        assert f"threshold: {chosen['sentence']}" in text
        assert "chosen on these very" in chosen["sentence"]
        assert "An image of happy taken for sad costing 1, one of sad taken for happy 10" in chosen["sentence"]
        assert (chosen["positive_class"], chosen["costs"], chosen["n"]) == ("sad", [1, 10], found["n"])
        taken_for_sad, taken_for_happy = found["confusion"][0][1], found["confusion"][1][0]
        assert chosen["cost_at_half"] == pytest.approx((taken_for_sad + 10 * taken_for_happy) / found["n"])
        assert chosen["cost"] <= chosen["cost_at_half"]
        assert "threshold" not in json.loads(fieldmark("evaluate", *where, "--json").out)

    def test_classes_are_matched_by_name(self, fieldmark: Command, faces: Path, trained: Path, tmp_path: Path) -> None:
        shutil.copytree(faces / "validation" / "sad", tmp_path / "only" / "sad")
        found = json.loads(fieldmark("evaluate", trained, tmp_path / "only", "--json").out)
        assert found["per_class"]["happy"]["n"] == 0
        assert found["per_class"]["sad"]["n"] == found["n"] > 0


def test_explain(fieldmark: Command, faces: Path, trained: Path) -> None:
    image = next((faces / "validation" / "sad").iterdir())
    done = fieldmark("explain", trained, image, "absent.jpg", "--out", "seen", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found == json.loads(Path("seen/explain.json").read_text("utf-8"))
    assert [row["problem"] for row in found["images"]] == [None, "unreadable_file"]
    text = fieldmark("explain", trained, image, "--out", "again")
    assert found["images"][0]["sentence"] in text.out
    assert fieldmark("explain", trained, image, "--out", "again").code == 2
    assert fieldmark("explain", trained, "absent.jpg", "--out", "other").code == 3


def test_compare(fieldmark: Command, trained: Path) -> None:
    done = fieldmark("compare", trained, trained, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert {"n", "a", "b", "difference", "difference_interval", "mcnemar", "flips"} <= found.keys()
    assert (found["difference"], found["flips"]) == (0, [])
    assert "A and B are the same classifier, to the bit" in fieldmark("compare", trained, trained / "model.onnx").out


def test_sweep(fieldmark: Command, faces: Path) -> None:
    options = ("--network", "course", "--epochs", 1, "--batch-size", 16, "--image-size", 24)
    done = fieldmark("sweep", faces, *options, "--channels", "4/8", "--seeds", 1, "--json", "--quiet")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [row["choice"] for row in found["choices"]] == ["channels 4", "channels 8"]
    assert Path(found["folder"]) == Path("sweeps", faces.name)
    again = fieldmark("sweep", faces, *options, "--channels", "4/8", "--seeds", 1)
    assert again.err.count("(kept)") == 2
    done = fieldmark("sweep", faces, *options, "--corrections", "nowhere.csv")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: --corrections nowhere.csv: no such file")
    assert "channels 8" in again.out
    for wrong in (("--epochs", "1,many"), ("--softmax", "perhaps"), ("--optimizer", "adam,adamw"), ("--seed", "0,1")):
        done = fieldmark("sweep", faces, "--network", "course", *wrong)
        assert (done.code, done.out) == (2, ""), wrong


def test_summary(fieldmark: Command) -> None:
    found = json.loads(fieldmark("summary", "--network", "course", "--image-size", 300, "--json").out)
    sides = [layer["shape"][0] for layer in found["layers"]]
    assert sides == [300, 298, 149, 147, 73, 71, 35, 33, 16, 14, 7, 3136, 512, 1]
    assert found["parameters"] == 1_704_097
    three = json.loads(fieldmark("summary", "--image-size", 300, "--channels", "16,32,64", "--json").out)
    assert [layer["shape"] for layer in three["layers"]][6:8] == [[35, 35, 64], [78_400]]
    small = json.loads(fieldmark("summary", "--image-size", 150, "--json").out)
    assert [layer["shape"] for layer in small["layers"]][6] == [17, 17, 64]
    assert "1,704,097 parameters" in fieldmark("summary").out


def test_samples(fieldmark: Command, faces: Path) -> None:
    done = fieldmark("samples", faces / "train", "--out", "grid.png")
    assert done.code == 0
    with Image.open("grid.png") as grid:
        assert grid.width > 500
    assert fieldmark("samples", faces / "train", "--out", "grid.txt").code == 2


class TestMistakes:
    """Each of them: exit code 2, nothing on stdout, one sentence and a hint, never a traceback."""

    @pytest.fixture
    def mistake(self, fieldmark: Command) -> Callable[..., str]:
        def run(*arguments: object) -> str:
            done = fieldmark(*arguments)
            assert done.code == 2, done
            assert done.out == ""
            assert done.err.startswith("error: ")
            assert "\nhint: " in done.err
            assert "Traceback" not in done.err
            return done.err

        return run

    def test_directories(self, mistake: Callable[..., str], faces: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "no such directory" in mistake("train", "absent")
        assert "no such directory: File name too long" in mistake("train", "a" * 4_000)
        assert "no images found" in mistake("train", "empty")
        assert "no images found" in mistake("audit", "empty")
        assert "is a file" in mistake("train", next((faces / "train" / "sad").iterdir()))
        assert "loose images" in mistake("train", faces / "train" / "sad")
        shutil.copytree(faces / "train" / "sad", tmp_path / "one" / "sad")
        assert "one class only" in mistake("train", "one")
        (tmp_path / "one" / "happy").mkdir()
        shutil.copy(next((faces / "train" / "happy").glob("*.png")), tmp_path / "one" / "happy")
        assert "fewer than two usable images in happy" in mistake("train", "one")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("predict", "", "x.jpg"),
            ("evaluate", "run", ""),
            ("explain", "", "x.jpg", "--out", "seen"),
            ("compare", "run", ""),
            ("compare", "a", "b", ""),
            ("serve", ""),
            ("train", ""),
            ("audit", "photos", "--validation", ""),
        ],
    )
    def test_an_empty_path_is_not_the_current_folder(
        self, mistake: Callable[..., str], arguments: tuple[str, ...]
    ) -> None:
        assert "the path is empty" in mistake(*arguments)

    def test_a_point_is_the_current_folder(self, mistake: Callable[..., str]) -> None:
        assert ".: no classifier here" in mistake("predict", ".", "x.jpg")

    def test_costs(self, mistake: Callable[..., str], faces: Path, trained: Path) -> None:
        for wrong in ("1", "1,2,3", "cheap,dear", ""):
            assert "expected two numbers" in mistake("evaluate", trained, faces / "validation", "--costs", wrong)
        for wrong in ("-1,1", "0,0", "nan,1", "inf,1"):
            assert "none below 0" in mistake("evaluate", trained, faces / "validation", "--costs", wrong)

    def test_models(self, mistake: Callable[..., str], trained: Path, faces: Path, tmp_path: Path) -> None:
        image = next((faces / "train" / "sad").iterdir())
        assert "no classifier here" in mistake("predict", "absent", image)
        assert "no classifier here" in mistake("predict", tmp_path, image)
        assert "File name too long" in mistake("predict", "a" * 4_000, image)
        assert "File name too long" in mistake("serve", "a" * 4_000)
        assert "not a classifier made by Fieldmark" in mistake("predict", image, image)
        (tmp_path / "cut.onnx").write_bytes((trained / "model.onnx").read_bytes()[:5000])
        assert "cut short" in mistake("predict", "cut.onnx", image)
        content = bytearray((trained / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "flipped.onnx").write_bytes(content)
        assert "damaged" in mistake("predict", "flipped.onnx", image)
        assert "no folder here is named after a class" in mistake("evaluate", trained, tmp_path.parent)

    def test_recipes(self, mistake: Callable[..., str], faces: Path) -> None:
        assert "no network named" in mistake("train", faces, "--network", "resnet")
        assert "at least 94" in mistake(
            "train", faces, "--network", "course", "--image-size", 20, "--channels", "16,32,64,64,64"
        )
        assert "at least 16" in mistake("train", faces, "--network", "convnet", "--image-size", 15)
        assert "--epochs" in mistake("train", faces, "--epochs", 3)
        assert "--optimizer" in mistake("train", faces, "--network", "course", "--optimizer", "adamw")
        assert "--channels" in mistake("train", faces, "--network", "course", "--channels", "a,b")
        assert "--batch-size" in mistake("train", faces, "--network", "course", "--batch-size", 0)
        assert "augmentation" in mistake("train", faces, "--network", "course", "--augmentation", "wild")
        assert "regular expression" in mistake("train", faces, *TRAIN, "--group-by", "(")

    def test_places_that_cannot_be_written(self, mistake: Callable[..., str], faces: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert "cannot write" in mistake("train", faces, *TRAIN, "--out", "file/run")
        assert "exists already" in mistake("train", faces, *TRAIN, "--out", "file")

    def test_words(self, mistake: Callable[..., str], faces: Path) -> None:
        assert "No such command" in mistake("trian")
        assert "No such option" in mistake("train", faces, "--epoch-count", 3)
        assert "Missing argument" in mistake("train")

    @pytest.mark.parametrize("network", ["course", "efficientnet-lite0"])
    def test_torch_is_not_installed(self, faces: Path, tmp_path: Path, network: str) -> None:
        code = NO_TORCH + "from fieldmark.__main__ import main; sys.exit(main())"
        command = [
            sys.executable,
            "-c",
            code,
            "train",
            str(faces),
            "--network",
            network,
            "--image-size",
            "32",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert "needs torch, which is not installed" in done.stderr
        assert "hint: pip install 'fieldmark[train]'" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob("runs/*"))


def test_interrupted_before_anything_was_learnt(
    fieldmark: Command, faces: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fieldmark.pipeline.read", interrupt)
    done = fieldmark("train", faces, *TRAIN)
    assert done.code == 130
    assert "interrupted" in done.err
    assert not list(tmp_path.glob("runs/*"))
