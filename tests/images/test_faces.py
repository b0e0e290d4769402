import random

import numpy as np
import pytest

from fieldmark.images.faces import SIZE, _mouth, draw_face


@pytest.mark.parametrize("number", range(12))
def test_moods_differ_in_the_mouth_alone(number):
    """From the same draws comes the same face; what differs is a small part of it."""
    happy = np.asarray(draw_face(random.Random(number), "happy")).astype(int)
    sad = np.asarray(draw_face(random.Random(number), "sad")).astype(int)
    differs = (happy != sad).any(axis=2)
    rows, columns = np.nonzero(differs)
    assert 0.005 < differs.mean() < 0.15
    assert np.ptp(rows) < 0.55 * SIZE
    assert np.ptp(columns) < 0.55 * SIZE


class Recorder:
    """Stands in for the pen: keeps the points, draws nothing."""

    def __init__(self):
        self.points = []

    def fill(self, outline, color):
        self.points.extend(outline)

    def stroke(self, points, color, *, width=1.0):
        self.points.extend(points)


@pytest.mark.parametrize("number", range(12))
def test_a_sad_mouth_is_a_happy_one_upside_down_in_the_same_place(number):
    happy, sad = Recorder(), Recorder()
    _mouth(happy, random.Random(number), (0, 0, 0), upside_down=False)
    _mouth(sad, random.Random(number), (0, 0, 0), upside_down=True)
    happy, sad = np.array(happy.points), np.array(sad.points)
    np.testing.assert_allclose(sad.min(axis=0), happy.min(axis=0))
    np.testing.assert_allclose(sad.max(axis=0), happy.max(axis=0))
    middle = (happy.min(axis=0) + happy.max(axis=0)) / 2
    np.testing.assert_allclose(sad[:, 0], happy[:, 0])
    np.testing.assert_allclose(sad[:, 1], 2 * middle[1] - happy[:, 1])


def test_draws_do_not_depend_on_the_mood():
    first, second = random.Random(3), random.Random(3)
    draw_face(first, "happy")
    draw_face(second, "sad")
    assert first.getstate() == second.getstate()
