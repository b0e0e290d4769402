import pytest

from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.mistaken import resolve_mistakes
from tests.report.fabricate import make_run, read


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
    # mistakes.json speaks of one split only
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
