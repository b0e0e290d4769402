import dataclasses

import pytest

from fieldmark.report.contents import read_contents
from fieldmark.report.headline import headline
from tests.report.fabricate import make_run


@pytest.fixture
def contents(tmp_path):
    """A run of which there is nothing to watch: many images, few mistakes, a clean audit."""
    run = make_run(tmp_path, wrong=2, splits={"train": 60, "validation": 100})
    found = read_contents(run)
    audit = {"problems": [], "duplicates": [], "leaks": []}
    metrics = found.metrics | {"overfitting": {}, "learning_curve": {}}
    metrics["validation"]["ece"] = 0.01
    return dataclasses.replace(found, audit=audit, metrics=metrics, run=found.run | {"notes": []})


def watched(contents):
    return " ".join(item["text"] for item in headline(contents)["watch"])


def test_nothing_to_watch(contents):
    assert headline(contents)["watch"] == []


def test_headline_is_measured_on_what_was_looked_at_least(contents):
    top = headline(contents)
    assert (top["split"], top["n"], top["correct"], top["accuracy"]) == ("validation", 200, 198, 0.99)
    assert top["accuracy_interval"] == contents.metrics["validation"]["accuracy_interval"]
    assert top["commonest"] == {"class": "cats", "share": 0.5}
    assert [row["split"] for row in top["splits"]] == ["train", "validation"]
    assert top["unseen"] is True


@pytest.mark.parametrize(
    ("audit", "sentence"),
    [
        ({"leaks": [{}]}, "1 image outside of training belongs together with training images"),
        ({"leaks": [{}, {}]}, "2 images outside of training belong together"),
        ({"problems": [{"code": "truncated"}, {"code": "unheard-of"}]}, "2 files could not be used."),
        ({"duplicates": [["a", "b", "c"], ["d", "e"]]}, "3 images are copies of another."),
        ({"duplicates": [["a", "b"]]}, "1 image is a copy of another."),
    ],
)
def test_findings_of_the_audit_are_watched(contents, audit, sentence):
    assert watched(dataclasses.replace(contents, audit=contents.audit | audit)).startswith(sentence)


@pytest.mark.parametrize("code", ["hidden", "system_file", "suffix_mismatch"])
def test_what_is_no_loss_is_not_watched(contents, code):
    audit = contents.audit | {"problems": [{"code": code}]}
    assert watched(dataclasses.replace(contents, audit=audit)) == ""


def test_leaks_take_back_the_claim_that_images_are_unseen(contents):
    assert headline(dataclasses.replace(contents, audit={"leaks": [{}]}))["unseen"] is False


def test_the_accuracy_without_leaks_is_said(contents):
    part = contents.predictions.select("validation")
    right = [path for path, correct in zip(part.paths, part.correct, strict=True) if correct]
    leaks = [{"other": path} for path in right[:99]]
    assert "Without them 98.0 % of 101 validation images are right." in watched(
        dataclasses.replace(contents, audit={"leaks": leaks})
    )
    leaks = [{"other": path} for path in part.paths]
    assert "none is left without them" in watched(dataclasses.replace(contents, audit={"leaks": leaks}))


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (
            {"accuracy_interval": [0.45, 0.52]},
            "Not shown to be better than always answering “cats” (50.0 %).",
        ),
        ({"accuracy_interval": [0.85, 0.96]}, "known only roughly: 200 images cannot say more."),
        ({"accuracy_interval": [0.7, 0.96], "groups": 1}, "200 images in 1 group cannot say more."),
        ({"ece": 0.123}, "Its probabilities are off by 12 points on average."),
    ],
)
def test_weak_numbers_are_watched(contents, numbers, sentence):
    metrics = contents.metrics | {"validation": contents.metrics["validation"] | numbers}
    assert sentence in watched(dataclasses.replace(contents, metrics=metrics))


def test_weak_and_small_classes_are_named(contents):
    rows = {
        "cats": {"n": 100, "recall": 0.99},
        "dogs": {"n": 50, "recall": 0.9},
        **{f"rare {number}": {"n": number, "recall": 0.1 if number else None} for number in range(8)},
    }
    metrics = contents.metrics | {"validation": contents.metrics["validation"] | {"per_class": rows}}
    text = watched(dataclasses.replace(contents, metrics=metrics))
    assert "“dogs” is found least often: 90.0 % of 50 images." in text
    assert "each class by: “rare 0” 0, “rare 1” 1," in text
    assert "“rare 5” 5 and 2 more." in text


def test_notes_and_overfitting_are_passed_on(contents):
    metrics = contents.metrics | {"overfitting": {"sentence": "A gap."}}
    text = watched(dataclasses.replace(contents, metrics=metrics, run=contents.run | {"notes": ["Chosen."]}))
    assert text == "A gap. Chosen."


def test_training_images_alone_say_little(contents):
    metrics = {"train": contents.metrics["train"]}
    found = dataclasses.replace(contents, metrics=metrics)
    assert "on the images it learnt from, so it says little" in watched(found)
    assert headline(found)["unseen"] is False


def test_without_numbers_it_says_so(contents):
    assert watched(dataclasses.replace(contents, metrics={})).startswith("Nothing was measured")


def test_an_accused_dataset_and_unfamiliar_images_are_watched(contents):
    check = {"name": "shortcuts", "answer": "Yes, from format.", "findings": [{"weight": "problem"}]}
    note = {"name": "wrong_labels", "answer": "Only a note.", "findings": [{"weight": "note"}]}
    other = check | {"name": "files", "answer": "Said elsewhere."}
    audit = contents.audit | {"checks": [check, note, other]}
    assert watched(dataclasses.replace(contents, audit=audit)) == "Yes, from format."
    for unlike, text in ((9, ""), (10, "10 validation images of 200 (5.0 %) look unlike anything in training.")):
        metrics = contents.metrics | {"validation": contents.metrics["validation"] | {"unfamiliar": unlike}}
        assert watched(dataclasses.replace(contents, metrics=metrics)) == text


@pytest.mark.parametrize(("low", "text"), [(0.004, ""), (0.006, "More would help.")])
def test_more_images_are_named_where_they_surely_help(contents, low, text):
    curve = {"sentence": "More would help.", "gain_interval": [low, 0.1]}
    assert watched(dataclasses.replace(contents, metrics=contents.metrics | {"learning_curve": curve})) == text
