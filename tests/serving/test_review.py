"""Review: what is looked at and in which order, and that no decision is lost, whatever became of the dataset."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from starlette.requests import Request

from fieldmark.classifier import load
from fieldmark.errors import ConflictError, DatasetError, ModelFileError, OutputError
from fieldmark.evaluation.predictions import Predictions, read_csv, write_csv
from fieldmark.images.corrections import read_table
from fieldmark.images.scan import scan
from fieldmark.report.contents import read_contents
from fieldmark.runs import Run
from fieldmark.serving import review as module
from fieldmark.serving import routes_review
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.retraining import retrain_command, validation_folder
from fieldmark.serving.review import Review
from fieldmark.serving.routes_review import Wanted
from fieldmark.serving.similar import Gallery
from fieldmark.serving.suspicions import ordered, suspected_items, unfamiliar_items
from tests.report.fabricate import change, make_run, read

ATTACK = "<img src=x onerror=alert(1)>\u202e\"'& =1+1 😀"


def opened(run: Path, classifier=None) -> Review:
    found = Review(classifier, Run(run))
    change(run / "audit.json", checks=[{"name": "wrong_labels", "status": "done"}])  # they were run before: no search
    return found


def test_the_most_suspicious_comes_first_and_each_image_once(tmp_path: Path) -> None:
    run = make_run(tmp_path, wrong=2)
    path = next(row["path"] for row in read(run / "mistakes.json")["mistakes"])
    doubted = {"label": "cats", "likelier": "dogs", "label_probability": 0.01, "likelier_probability": 0.99}
    change(run / "audit.json", suspected_labels=[{"path": path} | doubted])
    items = opened(run).page()["items"]
    assert (items[0]["path"], items[0]["reason"], items[0]["suggested"]) == (path, "suspected_label", "dogs")
    assert len({item["path"] for item in items}) == len(items) == len({item["id"] for item in items})
    assert {item["reason"] for item in items} == {"suspected_label", "mistake"}
    assert set(items[0]) == {"id", "path", "label", "suggested", "probability", "reason", "split", "correction"}
    sure = [item["probability"] for item in items[1:]]
    assert sure == sorted(sure, reverse=True)


def test_unfamiliar_images_come_last_the_least_familiar_first() -> None:
    predictions = Predictions(
        paths=("a", "b", "c"), labels=np.array([0, 1, 1], np.int32), splits=("test",) * 3, groups=("a", "b", "c"),
        probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32), classes=("cat", "dog"),
        familiarity=np.array([0.009, 0.001, 0.5], np.float32),
    )  # fmt: skip
    assert [item.path for item in ordered(unfamiliar_items(predictions))] == ["b", "a"]


def test_a_planted_wrong_label_is_suspected() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20).astype(np.int32)
    embeddings = (random.normal(size=(40, 600)) + 4 * labels[:, None]).astype(np.float32)
    labels[3] = 1
    paths = tuple(f"{row}.jpg" for row in range(40))
    (item,) = suspected_items(Gallery(embeddings, labels, paths, paths, ("cat", "dog")))
    assert (item.path, item.label, item.suggested, item.reason) == ("3.jpg", "dog", "cat", "suspected_label")
    assert suspected_items(Gallery(embeddings[:3], labels[:3], paths[:3], paths[:3], ("cat", "dog"))) == []


def test_a_class_that_is_only_likelier_is_no_suspicion_and_comes_last(tmp_path: Path) -> None:
    run = make_run(tmp_path, wrong=2)
    mistaken, right = [row["path"] for row in read(run / "mistakes.json")["mistakes"]], "cats/right.jpg"
    row = {"label": "cats", "likelier": "dogs", "label_probability": 0.4101, "likelier_probability": 0.4294}
    paths = [right, *mistaken]
    change(run / "audit.json", suspected_labels=[row | {"path": path, "accused": False} for path in paths])
    items = opened(run).page()["items"]
    assert {item["reason"] for item in items if item["path"] in paths[1:]} == {"mistake"}
    assert (items[-1]["path"], items[-1]["reason"]) == (right, "likelier_class")


def test_a_suspected_label_keeps_its_split() -> None:
    row = {"path": "x", "label": "a", "likelier": "b", "label_probability": 0, "likelier_probability": 1}
    items = module.audited_items([row | {"split": "validation"}, row | {"split": ""}, row])
    assert [item.split for item in items] == ["validation", "train", "train"]  # audits before splits were judged


def test_the_search_runs_beside_and_its_finds_join_the_queue(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = module.audited_items(
        [{"path": "x", "label": "a", "likelier": "b", "label_probability": 0, "likelier_probability": 1}]
    )
    monkeypatch.setattr(module, "suspected_items", lambda gallery: found)
    review = Review(load(trained), Run(trained))
    review.page()  # starts the search
    review._search.join()
    page = review.page()
    assert not page["pending"]
    assert "x" in [item["path"] for item in page["items"]]


@pytest.mark.parametrize("begun", ["", "train/{}", "other/x.jpg"])
def test_a_table_beside_a_split_folder_is_seen_written_and_undone(tmp_path: Path, begun: str) -> None:
    run = make_run(tmp_path)
    (tmp_path / "data").rename(tmp_path / "train")
    change(run / "run.json", root=str(tmp_path / "train"))
    review, table = opened(run), tmp_path / "corrections.csv"
    item = review.find(review.page()["items"][0]["id"])
    if begun == "train/{}":  # corrected before
        table.write_text(f"path,label\ntrain/{item.path},{item.suggested}\n")
        found = review.page()
        assert found["items"][0]["correction"] == item.suggested
        assert found["table"] == str(table)
        review.correct(item, None, expected=item.suggested)
        assert read_table(table) == {}
    elif begun:  # a table of nothing here: a row in it that no command could honour is refused
        table.write_text("path,label\nelsewhere/x.jpg,dogs\n")
        assert "no image has the path elsewhere/x.jpg" in review.page()["problem"]
        table.write_text("path,label\n")
        review.correct(item, "remove", expected=None)
        assert read_table(table) == {f"train/{item.path}": "remove"}
        assert [each.label for each in scan(tmp_path / "train").corrections] == ["remove"]
    else:
        review.correct(item, "remove", expected=None)
        assert not table.exists()
        assert read_table(tmp_path / "train" / "corrections.csv") == {item.path: "remove"}
        # The folder's own row holds over the one beside, and is what is undone.
        table.write_text(f"path,label\ntrain/{item.path},{item.suggested}\n")
        assert review.page()["items"][0]["correction"] == "remove"
        # Undone, the row beside holds: it is what is answered, and what the next decision is held against.
        assert review.correct(item, None, expected="remove")["correction"] == item.suggested
        assert read_table(table) == {f"train/{item.path}": item.suggested}
        assert review.page()["items"][0]["correction"] == item.suggested
        assert review.correct(item, "remove", expected=item.suggested)["correction"] == "remove"
        assert read_table(table) == {f"train/{item.path}": "remove"}


def test_a_decision_is_written_undone_and_honoured_by_the_next_training(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    review, root, table = opened(run), tmp_path / "data", tmp_path / "data" / "corrections.csv"
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    item = review.find(review.page()["items"][0]["id"])
    assert review.correct(item, item.suggested, expected=None)["correction"] == item.suggested
    (correction,) = scan(root).corrections
    assert (correction.path, correction.label) == (item.path, item.suggested)
    assert opened(run).page()["items"][0]["correction"] == item.suggested  # another server, or this one tomorrow
    review.correct(item, "remove", expected=item.suggested)
    assert scan(root).corrections[0].label == "remove"
    assert review.correct(item, None, expected="remove")["correction"] is None
    assert read_table(table) == {}
    assert {path: path.read_bytes() for path in root.rglob("*.*") if path != table} == before


def test_a_class_that_is_called_remove_is_never_written(tmp_path: Path) -> None:
    review, table = opened(make_run(tmp_path, classes=("cats", "remove"))), tmp_path / "data" / "corrections.csv"
    id_ = review.page()["items"][0]["id"]
    request = Request({"type": "http", "path_params": {"id": id_}})
    with pytest.raises(Refusal, match="bad_value: correction 'remove': a class bears the name") as refused:
        routes_review._write(review, request, Wanted("remove", None))
    assert refused.value.hint == "rename the folder of that class and train again"
    assert not table.exists()
    assert routes_review._write(review, request, Wanted("cats", None))["correction"] == "cats"
    table.write_text(table.read_text().replace("cats\n", "remove\n").replace(",cats", ",remove"))
    assert routes_review._write(review, request, Wanted(None, "remove"))["correction"] is None  # from before: undone


def test_two_tabs_at_one_image(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    one, two = opened(run), opened(run)
    item = one.find(one.page()["items"][0]["id"])
    one.correct(item, "dogs", expected=None)
    with pytest.raises(ConflictError, match="corrected to dogs meanwhile"):
        two.correct(item, "remove", expected=None)
    assert read_table(tmp_path / "data" / "corrections.csv") == {item.path: "dogs"}


def test_names_that_attack_are_only_names(tmp_path: Path) -> None:
    run = make_run(tmp_path, classes=("cats", ATTACK), stem=ATTACK.replace("/", ""))
    review = opened(run)
    page = review.page()
    assert page["classes"] == ["cats", ATTACK]
    item = next(review.find(item["id"]) for item in page["items"] if item["label"] == "cats")
    review.correct(item, ATTACK, expected=None)
    assert [each.label for each in scan(tmp_path / "data").corrections] == [ATTACK]
    assert all(item["id"].isalnum() for item in page["items"])


def test_two_hundred_classes_and_none_wrong(tmp_path: Path) -> None:
    classes = tuple(f"class {number:03}" for number in range(200))
    run = make_run(tmp_path, classes=classes, wrong=0, splits={"train": 1, "validation": 1})
    change(run / "audit.json", suspected_labels=[])
    table = run / "predictions.csv"
    write_csv(table, dataclasses.replace(read_csv(table), familiarity=None))
    page = opened(run).page()
    assert (page["items"], len(page["classes"]), page["problem"], page["more"]) == ([], 200, None, 0)


def test_a_long_queue_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ITEMS", 1)
    page = opened(make_run(tmp_path, wrong=2)).page()
    assert (len(page["items"]), page["more"]) == (1, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"name,class\n", "expected path,label"), (b"\xff\xfe", "not a CSV file"), (b"path,label\na,b\na,c\n", "twice")],
)
def test_a_table_that_is_none_is_said_and_left_alone(tmp_path: Path, content: bytes, words: str) -> None:
    review, table = opened(make_run(tmp_path)), tmp_path / "data" / "corrections.csv"
    table.write_bytes(content)
    page = review.page()
    assert words in page["problem"]
    with pytest.raises(DatasetError, match=words):
        review.correct(review.find(page["items"][0]["id"]), "dogs", expected=None)
    assert table.read_bytes() == content


def test_a_dataset_that_moved_and_an_image_that_is_gone(tmp_path: Path) -> None:
    review, root = opened(make_run(tmp_path)), tmp_path / "data"
    item = review.find(review.page()["items"][0]["id"])
    review.correct(item, "dogs", expected=None)
    (root / item.path).unlink()
    with pytest.raises(DatasetError, match="not there any more; the next training would refuse"):
        review.correct(item, "remove", expected="dogs")
    review.correct(item, None, expected="dogs")
    root.rename(tmp_path / "moved")
    assert "moved or deleted" in review.page()["problem"]
    with pytest.raises(DatasetError, match="moved or deleted"):
        review.correct(item, None, expected=None)
    assert not root.exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    review = opened(make_run(tmp_path))
    item = review.find(review.page()["items"][0]["id"])

    def refuse(**arguments: object) -> None:  # what mkstemp meets in a read-only folder; root may write anywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fieldmark.storage.tempfile.mkstemp", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*corrections\.csv: Permission denied"):
        review.correct(item, "dogs", expected=None)


def test_images_of_another_validation_folder_have_their_own_table(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "a b"
    paths = ("train/cats/1.jpg", str(elsewhere / "dogs" / "1.jpg"), str(elsewhere / "cats" / "2.jpg"))
    predictions = Predictions(
        paths=paths, labels=np.array([0, 0, 0], np.int32), splits=("train", "validation", "validation"),
        groups=paths, probabilities=np.array([[0.9, 0.1]] * 3, np.float32), classes=("cats", "dogs"),
    )  # fmt: skip
    # The second is corrected to another class than its folder says; the third tells the folder
    assert validation_folder(predictions) == elsewhere
    run = make_run(tmp_path)
    for path in paths[1:]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next((tmp_path / "data").rglob("*.png")), path)
    contents = read_contents(run)
    object.__setattr__(contents, "predictions", predictions)
    review = opened(run)
    review.__dict__["source"] = module.read_source(contents)
    item = module.audited_items(
        [{"path": paths[2], "label": "cats", "likelier": "dogs", "label_probability": 0, "likelier_probability": 1}]
    )[0]
    review.correct(item, "dogs", expected=None)
    assert read_table(elsewhere / "corrections.csv") == {"cats/2.jpg": "dogs"}
    assert module._current(review.source) == {paths[2]: "dogs"}
    assert shlex.split(review.source.command)[:5] == [
        "fieldmark", "train", str(tmp_path / "data"), "--validation", str(elsewhere),
    ]  # fmt: skip


def test_corrections_of_another_table_are_not_lost(tmp_path: Path) -> None:
    run, table = make_run(tmp_path), tmp_path / "data" / "corrections.csv"
    corrections = [{"path": "train/cats/image-0.png", "from": "cats", "to": "dogs"}]
    change(run / "run.json", corrections_table=str(table), corrections=corrections)
    assert opened(run).page()["problem"] is None  # the dataset's own, given by its name
    change(run / "run.json", corrections_table=str(tmp_path / "other.csv"), corrections=corrections)
    review = opened(run)
    page = review.page()
    item = review.find(page["items"][0]["id"])
    assert "trained with another table" in page["problem"]
    with pytest.raises(DatasetError, match="trained with another table"):
        review.correct(item, "dogs", expected=None)
    table.write_text("path,label\ntrain/cats/image-0.png,dogs\n")
    assert review.page()["problem"] is None
    review.correct(item, "remove", expected=read_table(table).get(item.path))
    assert read_table(table)[item.path] == "remove"
    review.correct(item, None, expected="remove")
    table.write_text("path,label\ntrain/cats/image-0.png,dogs\n")
    other = review.find(next(each["id"] for each in page["items"] if each["path"] == "train/cats/image-0.png"))
    # The last row of that table is undone: said on the page, and no refusal of what was written.
    assert review.correct(other, None, expected="dogs")["correction"] is None


def test_nothing_of_it_needs_torch(trained: Path, tmp_path: Path) -> None:
    script = """
import asyncio, sys
sys.modules["torch"] = None  # whoever imports it fails
import numpy as np
from pathlib import Path
from fieldmark.classifier import load
from fieldmark.runs import Run
from fieldmark.serving.explaining import Explainer
from fieldmark.serving.review import Review
classifier, run = load(sys.argv[1]), Run(Path(sys.argv[1]))
review = Review(classifier, run)
review.page()
review._search.join()
pixels = np.zeros((1, *classifier.preprocessing.shape), np.uint8)
answer = Explainer(classifier).explain(
    pixels[0], classifier.probabilities(pixels)[0], parts=("activation", "layers", "occlusion"))
sys.stdout.write(asyncio.run(answer)["sentence"])
"""
    arguments = [sys.executable, "-W", "error", "-c", script, str(trained)]
    assert "%" in subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


def test_the_command_trains_again_as_it_was_trained(trained: Path, faces: Path, tmp_path: Path) -> None:
    command = read_contents(trained)
    words = shlex.split(Review(None, Run(trained)).source.command)
    assert words == [
        *("fieldmark", "train", str(faces), "--network", "course", "--image-size", "24", "--channels", "8"),
        *("--epochs", "3", "--batch-size", "16"),
    ]
    assert command.recipe["epochs"] == 3
    assert retrain_command({"network": "MyNetwork"}, tmp_path) is None
    assert retrain_command({"of": "the future"}, tmp_path) is None
    assert retrain_command({"group_by": "-\\d+"}, Path("/a b")).endswith("'/a b' '--group-by=-\\d+'")


def test_a_folder_that_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not a run folder"):
        Review(None, Run(tmp_path)).page()
