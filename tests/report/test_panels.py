import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldmark.report.charts import ticks
from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.mistaken import resolve_mistakes
from fieldmark.report.panels import (
    PANELS,
    resolve_confusion,
    resolve_dataset,
    resolve_learning,
    resolve_reproduce,
)
from tests.report.fabricate import HISTORY, change, make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def context_of(run):
    return Context(read_contents(run), lambda paths: [None for _ in paths])


@pytest.mark.parametrize("name", PANELS)
def test_panels_give_plain_data_of_full_and_empty_runs(name, run, tmp_path):
    assert PANELS[name].title
    assert PANELS[name].question.endswith("?")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_text("{}")
    for folder in (run, tmp_path / "empty"):
        data = PANELS[name].resolve(context_of(folder))
        assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_dataset_counts_classes_and_splits(run):
    data = resolve_dataset(context_of(run))
    assert data["classes"][1] == {"name": "dogs", "counts": {"train": 6, "validation": 4}, "total": 10}
    assert data["totals"] == {"train": 12, "validation": 8}
    assert (data["images"], data["largest"], data["splits"]) == (20, 10, ["train", "validation"])


def test_dataset_sums_problems_up_by_code(run):
    more = [
        {"path": "b.jpg", "code": "suffix_mismatch", "detail": "x"},
        {"path": "c", "code": "novel", "detail": "y"},
    ]
    context = context_of(run)
    context.contents.audit["problems"][:0] = more
    first, second, third = resolve_dataset(context)["problems"]
    assert (first["code"], first["count"], len(first["examples"]), first["used"]) == (
        "truncated",
        25,
        20,
        False,
    )
    assert (second["code"], second["used"]) == ("suffix_mismatch", True)
    assert (third["code"], third["meaning"]) == ("novel", "")


def test_no_leaks_is_said_with_what_was_searched(run):
    change(run / "audit.json", leaks=[], checks=[{"name": "leaks", "answer": "None of 8 images."}])
    assert resolve_dataset(context_of(run))["no_leaks"] == "None of 8 images."
    change(run / "audit.json", checks=[])
    assert resolve_dataset(context_of(run))["no_leaks"].endswith("Near-duplicates were not searched.")


def test_dataset_falls_back_on_the_audit(run):
    (run / "dataset.csv").unlink()
    data = resolve_dataset(context_of(run))
    assert [(row["name"], row["total"]) for row in data["classes"]] == [("cats", 10), ("dogs", 10)]


def test_classes_stand_in_the_classifiers_order(run):
    change(run / "run.json", classes=["dogs", "cats"])
    assert [row["name"] for row in resolve_dataset(context_of(run))["classes"]] == ["dogs", "cats"]


def test_learning_keeps_gaps_and_refuses_what_is_no_number(run):
    (run / "history.csv").write_text(
        f"{HISTORY}\n1,0.9,0.5,,,0.1,2,1\n2,nan,0.6,0.8,0.7,0.1,2,1\n3,0.5,0.7,inf,x,0.1,2,1\n"
    )
    data = resolve_learning(context_of(run))
    loss, accuracy = data["charts"]
    assert loss["series"][0]["points"] == [[1, 0.9], [2, None], [3, 0.5]]
    assert loss["series"][1] == {
        "name": "validation",
        "points": [[1, None], [2, 0.8], [3, None]],
        "last": 0.8,
    }
    assert accuracy["ticks"][0] <= 0.5
    assert accuracy["ticks"][-1] == 1
    assert data["seconds"] == 6


def test_learning_of_a_header_alone_has_no_curves(run):
    (run / "history.csv").write_text(HISTORY + "\n")
    assert resolve_learning(context_of(run))["charts"] == []


@pytest.mark.parametrize("rows", [1, 2, 500])
def test_marked_epochs_are_few_and_within_the_chart(run, rows):
    (run / "history.csv").write_text("\n".join([HISTORY, *(f"{n},1,1,1,1,1,1,1" for n in range(1, rows + 1))]))
    chart = resolve_learning(context_of(run))["charts"][0]
    assert chart["epoch_ticks"][0] == 1
    assert len(chart["epoch_ticks"]) <= 8
    assert chart["epoch_ticks"][-1] <= chart["last_epoch"] == rows


def test_curves_that_were_not_measured_are_not_drawn(run):
    (run / "history.csv").write_text(f"{HISTORY}\n1,0.9,0.5,,,0.1,2,1\n")
    assert [line["name"] for line in resolve_learning(context_of(run))["charts"][0]["series"]] == ["train"]


def test_confusion_is_that_of_the_headline_split(run):
    data = resolve_confusion(context_of(run))
    assert (data["split"], data["n"], data["confusion"]) == ("validation", 8, [[3, 1], [1, 3]])
    assert data["most_confused"] == [
        {"label": "cats", "predicted": "dogs", "count": 1, "of": 4},
        {"label": "dogs", "predicted": "cats", "count": 1, "of": 4},
    ]


def test_test_images_come_before_validation(tmp_path):
    run = make_run(tmp_path, splits={"train": 2, "validation": 2, "test": 3})
    assert resolve_confusion(context_of(run))["split"] == "test"
    assert [part["split"] for part in resolve_mistakes(context_of(run))["splits"]] == [
        "test",
        "validation",
        "train",
    ]


def test_mistakes_hold_both_probabilities(run):
    validation, train = resolve_mistakes(context_of(run))["splits"]
    assert (validation["n"], validation["wrong"], validation["shown"], train["wrong"]) == (8, 2, 2, 2)
    row = validation["rows"][0]
    assert (row["label"], row["predicted"]) == ("cats", "dogs")
    assert (row["probability"], row["label_probability"]) == pytest.approx((0.9, 0.1))


def test_thumbnails_are_asked_for_the_shown_mistakes_only(tmp_path):
    run = make_run(tmp_path, wrong=200, splits={"train": 40, "validation": 60})
    asked = []
    resolve_mistakes(Context(read_contents(run), lambda paths: asked.extend(paths) or [None for _ in paths]))
    nearest, kinds = 3 * 24, 6 * 6
    assert 96 + 24 + nearest < len(asked) <= 96 + 24 + nearest + kinds


def test_reproduce_explains_the_recipe(run):
    change(run / "recipe.json", later_field=3)
    data = resolve_reproduce(context_of(run))
    fields = {row["name"]: row for row in data["recipe"]}
    assert fields["batch_size"]["meaning"] == "images of one step"
    assert fields["later_field"] == {"name": "later_field", "value": 3, "unit": "", "meaning": ""}
    assert data["facts"]["Seed"] == 7


@given(low=st.floats(-1e6, 1e6), span=st.just(0) | st.floats(1e-3, 1e6))
def test_ticks_span_the_values_with_few_round_steps(low, span):
    marks = ticks(low, low + span)
    assert 2 <= len(marks) <= 8
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= low + span - 1e-6 * step
    assert [b - a for a, b in itertools.pairwise(marks)] == pytest.approx([step] * (len(marks) - 1), rel=1e-3)
    assert float(f"{step:.0e}") == pytest.approx(step, rel=1e-3)
    assert f"{step:.0e}"[0] in "125"
