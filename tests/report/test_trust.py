import dataclasses

import numpy as np
import pytest

from fieldmark.evaluation.metrics import metrics_of
from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.trust import resolve_calibration, resolve_learning_curve, resolve_unfamiliar
from tests.report.fabricate import CURVE, change, make_run, read


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, splits={"train": 20, "validation": 40})


def context_of(run):
    return Context(read_contents(run), lambda paths: [None for _ in paths])


def test_calibration_puts_confidence_beside_accuracy(run):
    data = resolve_calibration(context_of(run))
    assert data["confidence"] == pytest.approx(0.9)
    assert data["accuracy"] == pytest.approx(78 / 80)
    assert data["how"] == ["probabilities calibrated with temperature 0.9"]
    (point,) = data["chart"]["points"]
    assert point["low"] < point["y"] < point["high"]


def test_bins_and_the_calibration_error_have_the_intervals_of_the_metrics(run):
    (run / "predictions.csv").unlink()
    context = context_of(run)
    data, numbers = resolve_calibration(context), context.contents.metrics["validation"]
    assert data["ece_interval"] == numbers["ece_interval"]
    assert [row["interval"] for row in data["bins"]] == [row["accuracy_interval"] for row in numbers["reliability"]]
    del numbers["reliability"][0]["accuracy_interval"]  # as runs had it once
    data = resolve_calibration(context)
    assert [row["interval"] for row in data["bins"]] == [None]
    assert data["chart"]["points"][0]["low"] is None


def test_every_bin_is_the_one_of_the_metrics(run):
    predictions = read_contents(run).predictions
    # The images of validation are the last ones: their answers go from two thirds sure to certain.
    sure = np.linspace(0.5, 1, len(predictions))[:, None]
    answer = predictions.probabilities.argmax(axis=1)[:, None] == [0, 1]
    shares = np.where(answer, sure, 1 - sure).astype(np.float32)
    changed = dataclasses.replace(predictions, probabilities=shares)
    contents = dataclasses.replace(
        read_contents(run), predictions=changed, metrics={"validation": metrics_of(changed.select("validation"))}
    )
    bins = resolve_calibration(Context(contents, lambda paths: [None for _ in paths]))["bins"]
    assert len(bins) == 5
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in bins)


def test_two_classes_have_curves_and_three_have_none(tmp_path):
    two = resolve_calibration(context_of(make_run(tmp_path / "two")))
    assert [curve["name"] for curve in two["curves"]] == ["auc", "average_precision"]
    three = resolve_calibration(context_of(make_run(tmp_path / "three", classes=("a", "b", "c"))))
    assert three["curves"] == []


def test_costs_have_thresholds_of_two_classes_that_are_both_known(run, tmp_path):
    context = context_of(run)
    costs = resolve_calibration(context)["costs"]
    part = context.contents.predictions.select("validation")
    assert (costs["n"], costs["classes"]) == (len(part), list(part.classes))
    assert [row["costs"] for row in costs["rows"]] == [[1, 1], [1, 5], [5, 1], [1, 10], [10, 1]]
    for row in costs["rows"]:
        answers = (part.probabilities[:, 1] >= row["threshold"]).astype(int)
        wrong = [int(np.sum((part.labels == label) & (answers != label))) for label in (0, 1)]
        assert wrong == [row["false_positives"], row["false_negatives"]]
        assert row["cost"] == pytest.approx(np.dot(wrong, row["costs"]) / len(part))
        assert row["cost"] <= row["cost_at_half"]
    assert resolve_calibration(context_of(make_run(tmp_path / "three", classes=("a", "b", "c"))))["costs"] is None
    one = dataclasses.replace(part, labels=np.zeros_like(part.labels))
    contents = dataclasses.replace(read_contents(run), predictions=one)
    assert resolve_calibration(Context(contents, lambda paths: [None for _ in paths]))["costs"] is None


def test_learning_curve_goes_on_to_twice_the_images(run):
    data = resolve_learning_curve(context_of(run))
    assert data["sentence"] == CURVE["sentence"]
    curve = data["chart"]["lines"][0]["points"]
    # exponent 1: the odds of a mistake, .12 to .88 with 12 images, are half with 24 and three times as high with 4
    assert curve[-1] == pytest.approx([24, 0.88 / 0.94])
    assert curve[0] == pytest.approx([4, 0.88 / 1.24])
    assert data["chart"]["ahead"] == pytest.approx({"x": 24, "low": 0.9, "high": 0.98})


@pytest.mark.parametrize("change_of_curve", [{"exponent": 0.0, "gain_of_doubling": 0.0}, {"images": None}])
def test_a_curve_that_does_not_rise_or_was_not_fitted_is_points_only(run, change_of_curve):
    change(run / "metrics.json", learning_curve=CURVE | change_of_curve)
    chart = resolve_learning_curve(context_of(run))["chart"]
    assert (chart["lines"], chart["ahead"], len(chart["points"])) == ([], None, 2)


def test_unfamiliar_images_are_counted_and_the_least_familiar_come_first(run):
    data = resolve_unfamiliar(context_of(run))
    validation, train = data["splits"]
    assert (validation["split"], validation["unfamiliar"], validation["n"]) == ("validation", 0, 80)
    # familiarity rises from 0 to 1 over the 120 images: those at 0 and 1/119 are below 1 in 100
    assert (train["unfamiliar"], train["wrong"]) == (2, 2)
    assert validation["unfamiliar"] == read(run / "metrics.json")["validation"]["unfamiliar"]
    shown = [row["familiarity"] for row in data["images"]]
    assert shown == sorted(shown)
    assert len(shown) == 12
    assert data["split"] == "validation"


def test_a_classifier_that_tells_no_familiarity_has_no_table(run):
    contents = read_contents(run)
    predictions = dataclasses.replace(contents.predictions, familiarity=None)
    context = Context(dataclasses.replace(contents, predictions=predictions), lambda paths: [None for _ in paths])
    assert resolve_unfamiliar(context)["splits"] == []


def test_only_images_under_the_threshold_are_called_unfamiliar(run):
    context = context_of(run)
    part = context.contents.predictions
    familiarity = np.where(np.arange(len(part)) % 2, 0.4, 0.001).astype(np.float32)
    contents = dataclasses.replace(context.contents, predictions=dataclasses.replace(part, familiarity=familiarity))
    images = resolve_unfamiliar(dataclasses.replace(context, contents=contents))["images"]
    assert len(images) > 2
    assert all(image["unfamiliar"] == (image["familiarity"] < 0.01) for image in images)
    few = familiarity.copy()
    few[1:] = 0.4
    contents = dataclasses.replace(context.contents, predictions=dataclasses.replace(part, familiarity=few))
    flags = [
        each["unfamiliar"] for each in resolve_unfamiliar(dataclasses.replace(context, contents=contents))["images"]
    ]
    assert not any(flags[1:])
