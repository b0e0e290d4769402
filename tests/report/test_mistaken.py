import re

import numpy as np
import pytest

from fieldmark.evaluation.kinds import analyse_mistakes
from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.mistaken import resolve_mistakes
from fieldmark.report.overlays import Drawn
from fieldmark.report.render import render_report
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


def page_of_tested(folder, *, remarks=(), **choices):
    """A run whose test mistakes were analysed too, and the text of its page, spaces evened out."""
    run = make_run(folder, splits={"train": 6, "validation": 4, "test": 3}, **choices)
    predictions = read_contents(run).predictions
    embeddings = np.random.default_rng(0).normal(size=(len(predictions), 4)).astype(np.float32)
    other = analyse_mistakes(predictions, embeddings, split="test")
    change(run / "mistakes.json", others=[other | {"remarks": [*other["remarks"], *remarks]}])
    html = render_report(run).read_text(encoding="utf-8")
    panel = html[html.index('id="mistakes"') : html.index('id="looks"')]
    return run, panel, re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", panel))


def test_each_split_says_what_to_photograph_next(tmp_path):
    run, _, text = page_of_tested(tmp_path, remarks=["of the test a remark"])
    stored = read(run / "mistakes.json")
    for split, analysis in (("validation", stored), ("test", stored["others"][0])):
        start = text.index(f"What to photograph next, by the {split} mistakes")
        said = text[start : text.find("What to photograph next", start + 1)]
        assert said.startswith(f"What to photograph next, by the {split} mistakes The {split} mistakes, put together")
        for kind in analysis["kinds"]:
            assert f"{100 * kind['lost']:.1f} points" in said
            assert kind["advice"][1:40] in said
        # What is photographed for a test makes it none
        assert ("A test that decides what is photographed is no test any more" in said) == (split == "test")
    assert "Of the test a remark." in text
    assert read(run / "report_files" / "mistakes.json")["remarks"].count("of the test a remark") == 1


def test_one_split_needs_no_name_in_the_heading(tmp_path):
    html = render_report(make_run(tmp_path)).read_text(encoding="utf-8")
    assert "<h3>What to photograph next</h3>" in html
    assert "is no test any more" not in html


def test_the_mistakes_of_a_split_are_counted_in_words(tmp_path):
    _, panel, text = page_of_tested(tmp_path, wrong=1)
    for split, n in (("Test", 6), ("Validation", 8), ("Train", 12)):
        start = panel.index(f"<h3>{split}</h3>")
        said = re.sub(r"\s+", " ", panel[start : panel.find("<h3>", start + 1)])
        assert f"1 of {n} answers is wrong, the most confident first." in said
        assert ("Training images that cannot be learnt often bear a wrong label." in said) == (split == "Train")
    _, _, text = page_of_tested(tmp_path / "none", wrong=0)
    assert "Test None: all 6 answers are right." in text
    assert "test: no mistakes to learn from".capitalize() in text


def test_what_was_looked_at_is_said_of_as_many_as_it_is_shown_for(tmp_path):
    run = make_run(tmp_path, wrong=50, splits={"train": 2, "validation": 50})
    looks = []

    def draw(asked):
        looks.extend(asked)
        # The last one cannot be read
        return Drawn("a method", "", [None if look is asked[-1] else {"file": "look-1.jpg"} for look in asked])

    (validation, _) = resolve_mistakes(Context(read_contents(run), lambda paths: [None for _ in paths], draw))["splits"]
    assert validation["looked_at"] == len(looks) - 1 == 39
    for look, row in zip(looks, validation["rows"], strict=False):
        assert (look.path, ("cats", "dogs")[look.towards], ("cats", "dogs")[look.against]) == (
            *(row["path"], row["predicted"], row["label"]),
        )


def test_nearest_images_are_pictured_for_a_bounded_number(tmp_path):
    run = make_run(tmp_path, wrong=60, splits={"train": 10, "validation": 60})
    pictured = [[one["thumbnail"] is not None for one in row["nearest"]] for row in of_run(run)["splits"][0]["rows"]]
    assert all(all(row) and row for row in pictured[:24])
    assert not any(any(row) for row in pictured[24:])


def test_images_of_no_known_class_are_not_counted(tmp_path):
    run = make_run(tmp_path, wrong=0)
    lines = (run / "predictions.csv").read_text().splitlines()
    column = lines[0].split(",").index("label")
    row = next(number for number, line in enumerate(lines) if "validation" in line)
    cells = lines[row].split(",")
    lines[row] = ",".join([*cells[:column], "", *cells[column + 1 :]])
    (run / "predictions.csv").write_text("\n".join(lines) + "\n")
    validation = of_run(run)["splits"][0]
    assert (validation["split"], validation["n"], validation["wrong"]) == ("validation", 7, 0)
