import csv
import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldmark.errors import ModelFileError
from fieldmark.evaluation.predictions import Predictions, answers, read_csv, write_csv
from fieldmark.storage import guard, unguard
from tests.waiting import within_seconds

FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
HOSTILE = (
    "plain.jpg",
    'a, "b"\nc\r\n.jpg',
    "=HYPERLINK(0)",
    "@SUM(A1)",
    "-1",
    "+1",
    "\tx",
    "\rx",
    "'=x",
    "''@x",
    "'tis",
    "",
    "<script>alert(1)</script>",
    "🐎 \u202egpj.",
    "p:horse",
)


def predictions_of(probabilities, *, classes=("cat", "dog"), labels=None, names=None, splits=None):
    count = len(probabilities)
    names = tuple(names or (f"{row}.jpg" for row in range(count)))
    return Predictions(
        paths=names,
        labels=np.zeros(count, np.int32) if labels is None else np.array(labels, np.int32),
        probabilities=np.array(probabilities, np.float32).reshape(count, len(classes)),
        splits=tuple(splits or ["validation"] * count),
        groups=names,
        classes=tuple(classes),
    )


def random_probabilities(rows, classes, seed=0):
    return np.random.default_rng(seed).dirichlet([0.3] * classes, rows).astype(np.float32)


def assert_same(one, other):
    assert (one.paths, one.splits, one.groups, one.classes) == (
        other.paths,
        other.splits,
        other.groups,
        other.classes,
    )
    assert other.probabilities.dtype == np.float32
    assert other.labels.dtype == np.int32
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_of_two_classes_the_second_is_answered_from_a_half_on():
    ulp = np.float32(2**-24)
    half = np.float32(0.5)
    probabilities = np.array([[0.5, 0.5], [half + ulp, half - ulp], [half - ulp, half + ulp]], np.float32)
    assert answers(probabilities).tolist() == [1, 0, 1]


def test_of_many_classes_the_likeliest_is_answered():
    probabilities = random_probabilities(200, 7)
    np.testing.assert_array_equal(answers(probabilities), probabilities.argmax(axis=1))


def test_an_unknown_label_is_not_correct():
    predictions = predictions_of([[1, 0], [1, 0], [0, 1]], labels=[0, -1, 0])
    assert predictions.correct.tolist() == [True, False, False]


def test_select_keeps_the_rows_together():
    probabilities = random_probabilities(6, 3)
    splits = ["train", "test", "validation", "train", "test", "train"]
    predictions = predictions_of(probabilities, classes="abc", labels=[0, 1, 2, -1, 1, 0], splits=splits)
    chosen = predictions.select("test")
    assert chosen.paths == chosen.groups == ("1.jpg", "4.jpg")
    assert chosen.splits == ("test", "test")
    assert chosen.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(chosen.probabilities, probabilities[[1, 4]])
    assert len(predictions.select("nothing")) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"paths": ("a",)},
        {"labels": np.array([0, 2], np.int32)},
        {"labels": np.array([0, -2], np.int32)},
        {"classes": ("cat",)},
        {"probabilities": np.array([[0.9, 0.2], [1, 0]], np.float32)},
        {"probabilities": np.array([[np.nan, 0.2], [1, 0]], np.float32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_columns_that_do_not_fit_are_refused(change):
    fields = {
        "paths": ("a", "b"),
        "labels": np.array([0, 1], np.int32),
        "probabilities": np.array([[0.9, 0.1], [1, 0]], np.float32),
        "splits": ("train", "train"),
        "groups": ("a", "b"),
        "classes": ("cat", "dog"),
    }
    Predictions(**fields)
    with pytest.raises(ValueError, match=r"."):
        Predictions(**(fields | change))


def test_csv_gives_back_every_bit(tmp_path):
    probabilities = random_probabilities(len(HOSTILE), 3)
    labels = [row % 4 - 1 for row in range(len(HOSTILE))]
    predictions = predictions_of(probabilities, classes=("=1+1", "a,b", 'c"\n'), labels=labels, names=HOSTILE)
    write_csv(tmp_path / "predictions.csv", predictions)
    assert_same(predictions, read_csv(tmp_path / "predictions.csv"))


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_csv_gives_back_any_name(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("csv") / "predictions.csv"
    predictions = predictions_of(random_probabilities(len(names), 2), names=names)
    write_csv(path, predictions)
    assert_same(predictions, read_csv(path))


def test_no_cell_of_the_file_begins_a_formula(tmp_path):
    classes = tuple(name for name in HOSTILE if name)
    labels = [max(0, row - 1) for row in range(len(HOSTILE))]
    predictions = predictions_of(
        random_probabilities(len(HOSTILE), len(classes)), classes=classes, labels=labels, names=HOSTILE
    )
    write_csv(tmp_path / "predictions.csv", predictions)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row if cell]
    assert [cell for cell in cells if cell[0] in FORMULA_STARTS] == []


def test_the_first_columns_name_the_image_and_the_answer(tmp_path):
    predictions = predictions_of([[0.25, 0.75], [0.5, 0.5]], labels=[0, -1], splits=["train", "test"])
    write_csv(tmp_path / "predictions.csv", predictions)
    assert (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines() == [
        "path,split,group,label,predicted,probability,p:cat,p:dog",
        "0.jpg,train,0.jpg,cat,dog,0.75,0.25,0.75",
        "1.jpg,test,1.jpg,,dog,0.5,0.5,0.5",
    ]


@given(st.text(alphabet="'" + FORMULA_STARTS + "a"))
def test_guard_is_reversible(cell):
    assert unguard(guard(cell)) == cell
    assert guard(cell)[:1] not in tuple(FORMULA_STARTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it holds no line"),
        ("path,label\n", "columns"),
        ("path,split,group,label,predicted,probability,p:cat\na,train,a,cat\n", "row 2 has 4 cells"),
        ("path,split,group,label,predicted,probability,p:cat\na,train,a,dog,cat,1,1\n", "'dog' is no class"),
        ("path,split,group,label,predicted,probability,p:cat\na,train,a,cat,cat,1,one\n", "one"),
        ("path,split,group,label,predicted,probability,p:cat\na,train,a,cat,cat,1,0.5\n", "sum"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "predictions.csv"
    path.write_text(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        read_csv(path)
    assert str(path) in str(caught.value)
    assert "fieldmark evaluate" not in caught.value.hint  # which writes no such file


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="cannot read") as caught:
        read_csv(tmp_path / "nothing.csv")
    assert "`fieldmark compare A B DIR`" in caught.value.hint
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelFileError, match="not a file of predictions"):
        read_csv(tmp_path / "binary.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "predictions.csv")
    with pytest.raises(ModelFileError, match="a pipe stands where a file belongs"):
        within_seconds(lambda: read_csv(tmp_path / "predictions.csv"))


def test_familiarity_is_written_and_read_where_it_is_known(tmp_path):
    path = tmp_path / "predictions.csv"
    plain = predictions_of([[1, 0], [0, 1], [1, 0]], classes=("familiarity", "unfamiliar"))
    write_csv(path, plain)
    assert read_csv(path).familiarity is None
    told = dataclasses.replace(plain, familiarity=np.array([0.0, 0.01, 1 / 3], np.float32))
    write_csv(path, told)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["unfamiliar"] for row in rows] == ["True", "False", "False"]
    again = read_csv(path)
    assert_same(told, again)
    np.testing.assert_array_equal(again.familiarity, told.familiarity)
    assert again.keep([2, 0]).familiarity.tolist() == told.familiarity[[2, 0]].tolist()
    with pytest.raises(ValueError, match="familiarity"):
        dataclasses.replace(plain, familiarity=np.zeros(2, np.float32))
