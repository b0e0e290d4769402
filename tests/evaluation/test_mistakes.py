import numpy as np

from fieldmark.evaluation.mistakes import mistakes, most_confused
from tests.evaluation.test_predictions import predictions_of, random_probabilities


def test_mistakes_are_the_wrong_answers_most_confident_first():
    predictions = predictions_of(
        [[0.6, 0.4], [0.1, 0.9], [0.25, 0.75], [0.0, 1.0]],
        labels=[1, 0, 0, 1],
        names=["doubtful", "sure", "middling", "right"],
    )
    rows = mistakes(predictions)
    assert [row["path"] for row in rows] == ["sure", "middling", "doubtful"]
    assert rows[1] == {"path": "middling", "label": "cat", "predicted": "dog", "probability": 0.75}
    assert type(rows[1]["probability"]) is float


def test_equal_probabilities_are_sorted_by_path():
    predictions = predictions_of([[0.2, 0.8]] * 3, labels=[0, 0, 0], names=["c", "a", "b"])
    assert [row["path"] for row in mistakes(predictions)] == ["a", "b", "c"]


def test_an_unknown_label_is_no_mistake():
    predictions = predictions_of([[0.2, 0.8]] * 2, labels=[-1, 1])
    assert mistakes(predictions) == []
    assert most_confused(predictions) == []


def test_confused_pairs_add_up_to_the_mistakes():
    labels = np.arange(300) % 4
    predictions = predictions_of(random_probabilities(300, 4), classes="abcd", labels=labels)
    pairs, wrong = most_confused(predictions), mistakes(predictions)
    assert sum(pair["count"] for pair in pairs) == len(wrong) == int((~predictions.correct).sum()) > 0
    assert [pair["count"] for pair in pairs] == sorted((pair["count"] for pair in pairs), reverse=True)
    for pair in pairs:
        same = [row for row in wrong if (row["label"], row["predicted"]) == (pair["label"], pair["predicted"])]
        assert (pair["count"], pair["of"]) == (len(same), 75)
