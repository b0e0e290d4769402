import numpy as np
import pytest

from fieldmark.evaluation.kinds import analyse_mistakes
from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.mistaken import resolve_mistakes
from fieldmark.report.overlays import Drawn
from tests.report.fabricate import change, make_run, read


def of_run(run):
    return resolve_mistakes(Context(read_contents(run), lambda paths: [{"file": path} for path in paths]))


def test_mistakes_know_their_nearest_training_images(tmp_path):
    run = make_run(tmp_path)
    validation, train = of_run(run)["splits"]
    known = {row["path"]: row for row in read(run / "mistakes.json")["mistakes"]}
    assert len(validation["rows"]) == len(known) == 2
    for row in validation["rows"]:
        assert [one["path"] for one in row["nearest"]] == [one["path"] for one in known[row["path"]]["nearest"]]
        assert all(one["thumbnail"] == {"file": one["path"]} for one in row["nearest"])
        assert row["kind"] == known[row["path"]]["kind"]
    # mistakes.json speaks of splits held out only
    assert all(row["nearest"] == [] and row["kind"] is None for row in train["rows"])


def test_kinds_keep_their_order_and_show_a_few_images(tmp_path):
    run = make_run(tmp_path, wrong=60, splits={"train": 10, "validation": 60})
    data, known = of_run(run), read(run / "mistakes.json")
    assert [kind["kind"] for kind in data["kinds"]] == [kind["kind"] for kind in known["kinds"]]
    assert data["analysed"] == "validation"
    for kind in data["kinds"][: data["kinds_shown"]]:
        assert [one["file"] for one in kind["thumbnails"]] == kind["paths"][:6]
    assert all(kind["thumbnails"] == [] for kind in data["kinds"][data["kinds_shown"] :])


@pytest.mark.parametrize("wrong", [0, 1])
def test_without_an_analysis_mistakes_are_listed_all_the_same(tmp_path, wrong):
    run = make_run(tmp_path, wrong=wrong)
    (run / "mistakes.json").unlink()
    data = of_run(run)
    assert data["kinds"] == []
    assert [len(part["rows"]) for part in data["splits"]] == [wrong, wrong]


def test_mistakes_of_every_split_that_was_held_out_are_known(tmp_path):
    run = make_run(tmp_path, splits={"train": 6, "validation": 4, "test": 3})
    predictions = read_contents(run).predictions
    embeddings = np.random.default_rng(0).normal(size=(len(predictions), 4)).astype(np.float32)
    change(run / "mistakes.json", others=[analyse_mistakes(predictions, embeddings, split="test")])
    data = of_run(run)
    assert [one["analysed"] for one in data["others"]] == ["test"]
    assert data["others"][0]["kinds"]
    rows = {part["split"]: part["rows"] for part in data["splits"]}
    assert all(row["nearest"] and row["kind"] for row in rows["test"] + rows["validation"])


def test_what_it_looked_at_stands_beside_a_bounded_number(tmp_path):
    run = make_run(tmp_path, wrong=60, splits={"train": 60, "validation": 60, "test": 30})
    looks = []

    def draw(asked):
        looks.extend(asked)
        return Drawn("a method", "", [{"file": "look-1.jpg", "width": 1, "height": 1} for _ in asked])

    data = resolve_mistakes(Context(read_contents(run), lambda paths: [None for _ in paths], draw))
    assert len(looks) == 40
    assert {part["split"]: part["looked_at"] for part in data["splits"]} == {"test": 20, "validation": 20, "train": 0}
    for part in data["splits"]:
        assert [row["overlay"] is not None for row in part["rows"]] == [
            place < part["looked_at"] for place in range(part["wrong"])
        ]
    assert all(look.towards != look.against for look in looks)
