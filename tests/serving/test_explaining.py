"""Explaining: pictures and a sentence of one image, one after another, and no work for those who left."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldmark.classifier import load
from fieldmark.explanation.words import sentence_of_places
from fieldmark.images import formats
from fieldmark.serving.explaining import Explainer, Stopped
from fieldmark.serving.refusals import Refusal


@pytest.fixture(scope="module")
def classifier(trained: Path):
    return load(trained)


@pytest.fixture(scope="module")
def pixels(classifier, faces: Path):
    return formats.load(next((faces / "validation" / "happy").iterdir()), classifier.preprocessing)


def picture(url: str) -> Image.Image:
    kind, content = url.split(",", 1)
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def explain(explainer, pixels, **options):
    classifier = explainer._classifier
    return asyncio.run(explainer.explain(pixels, classifier.probabilities(pixels[None])[0], **options))


def test_all_parts_are_pictures_of_the_image(classifier, pixels) -> None:
    found = explain(Explainer(classifier), pixels, parts=("activation", "occlusion", "layers"))
    size = picture(found["image"]).size
    assert max(size) == 448
    assert picture(found["activation"]).size == picture(found["occlusion"]).size == size
    assert [layer["shape"] for layer in found["layers"]] == [[8, 22, 22], [8, 11, 11]]
    assert all(picture(layer["picture"]).width for layer in found["layers"])
    assert all(layer["name"] for layer in found["layers"])
    assert found["sentence"].startswith(found["label"])
    assert found["problem"] is None


def test_what_was_not_asked_for_is_none_and_a_class_may_be_chosen(classifier, pixels) -> None:
    explainer = Explainer(classifier)
    found = [explain(explainer, pixels, label=label) for label in classifier.classes]
    assert [each["label"] for each in found] == list(classifier.classes)
    assert found[0]["activation"] != found[1]["activation"]
    assert (found[0]["occlusion"], found[0]["layers"]) == (None, None)
    nothing = explain(explainer, pixels, parts=())
    assert (nothing["activation"], nothing["sentence"][-1]) == (None, ")")


def test_a_network_without_a_map_says_why(classifier, pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen(*arguments: object, **options: object) -> None:
        raise LookupError("Einsum")

    monkeypatch.setattr("fieldmark.serving.explaining.contributions", unforeseen)
    found = explain(Explainer(classifier), pixels, parts=("activation", "layers"))
    assert found["activation"] is None
    assert "Einsum" in found["problem"]
    assert found["layers"]


def test_one_at_a_time_and_only_so_many_wait(classifier, pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, running, most = Explainer(classifier, waiting=3), 0, 0
    real = explainer._explain

    def counted(*arguments):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return real(*arguments)
        finally:
            running -= 1

    monkeypatch.setattr(explainer, "_explain", counted)
    probabilities = classifier.probabilities(pixels[None])[0]

    async def many():
        work = [explainer.explain(pixels, probabilities) for _ in range(5)]
        return await asyncio.gather(*work, return_exceptions=True)

    found = asyncio.run(many())
    assert [isinstance(each, dict) for each in found] == [True, True, True, False, False]
    assert [each.code for each in found[3:] if isinstance(each, Refusal)] == ["over_capacity"] * 2
    assert most == 1
    assert explain(explainer, pixels)["label"]  # and there is a place again


def test_who_left_stops_the_work(classifier, pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, begun, ended = Explainer(classifier), threading.Event(), threading.Event()
    probabilities = classifier.probabilities(pixels[None])[0]

    def without_end(image, ask):
        try:
            for _ in range(2_000):  # some seconds
                ask(image[None])
                begun.set()
        except Stopped:
            ended.set()
            raise

    monkeypatch.setattr("fieldmark.serving.explaining.occlude", without_end)

    async def leave():
        task = asyncio.create_task(explainer.explain(pixels, probabilities, parts=("occlusion",)))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    assert ended.wait(10)


def test_the_sentence_names_the_place() -> None:
    places = np.zeros((7, 7))
    places[0, 6], places[6, 3] = 2.0, -1.0
    assert sentence_of_places(places, 0.75, "cat", "dog") == (
        "cat (75.0 %) rather than dog: the part at the upper right speaks most for it; "
        "the part at the bottom speaks most against it"
    )
    assert "no part" in sentence_of_places(np.zeros((1, 1)), 0.5, "cat", "dog")
    assert sentence_of_places(None, 0.5, "cat", "dog") == "cat (50.0 %)"
