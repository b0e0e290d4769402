"""Contributions add up to the score, and are the class activation map where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fieldmark
from fieldmark import export
from fieldmark.classifier import load
from fieldmark.explanation.contributions import DENSE, POOLED, contributions
from fieldmark.explanation.graph import Graph, open_graph
from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def exported(network: torch.nn.Module, folder: Path, classes: int, temperature: float = 1.0) -> fieldmark.Classifier:
    preprocessing = Preprocessing(width=32, height=32)
    metadata = {"classes": list("abcd"[:classes]), "preprocessing": preprocessing.to_json()}
    graph = export.network_graph(network.eval(), preprocessing, temperature=temperature)
    export.write_model(graph, folder / "model.onnx", metadata)
    return load(folder, threads=1)


def opened(network: torch.nn.Module, folder: Path, classes: int) -> tuple[Graph, fieldmark.Classifier]:
    classifier = exported(network, folder, classes)
    return open_graph(classifier, threads=1), classifier


@pytest.mark.parametrize("classes", [2, 3])
def test_global_pooling_gives_the_class_activation_map(tmp_path: Path, classes: int) -> None:
    network = build("convnet", (32, 32), outputs=1 if classes == 2 else classes, channels=(8, 16))
    torch.nn.init.normal_(network.head.bias)
    graph, classifier = opened(network, tmp_path, classes)
    values = graph.run(PIXELS)
    found = contributions(graph, values, towards=1, against=0)
    weights, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    towards = weights[0] if classes == 2 else weights[1] - weights[0]
    _, maps = graph.feature_maps(values)[-1]
    cam = np.einsum("c,chw->hw", towards, maps) / maps[0].size
    assert found.places is not None
    np.testing.assert_allclose(found.places, cam, atol=1e-5)
    assert found.rest == pytest.approx(bias[0] if classes == 2 else bias[1] - bias[0], abs=1e-5)
    shares = classifier.probabilities(PIXELS[None])[0]
    assert found.score == pytest.approx(np.log(shares[1] / shares[0]), abs=1e-3)
    assert found.method == POOLED


@pytest.mark.parametrize("classes", [2, 3])
def test_a_temperature_divides_the_score_and_every_place(tmp_path: Path, classes: int) -> None:
    network = build("convnet", (32, 32), outputs=1 if classes == 2 else classes, channels=(8, 16))
    found = []
    for name, temperature in (("plain", 1.0), ("warm", 2.5)):
        (tmp_path / name).mkdir()
        classifier = exported(network, tmp_path / name, classes, temperature)
        graph = open_graph(classifier, threads=1)
        found.append(contributions(graph, graph.run(PIXELS), towards=1, against=0))
        shares = classifier.probabilities(PIXELS[None])[0]
        assert found[-1].score == pytest.approx(np.log(shares[1] / shares[0]), abs=1e-3)
    plain, warm = found
    assert plain.places is not None
    assert warm.places is not None
    np.testing.assert_allclose(warm.places * 2.5, plain.places, atol=1e-6)
    assert warm.method == POOLED


def test_dense_layers_are_followed_back_exactly(tmp_path: Path) -> None:
    network = build("course", (32, 32), outputs=1, channels=(8,))
    graph, _ = opened(network, tmp_path, 2)
    values = graph.run(PIXELS)
    found = contributions(graph, values, towards=0, against=1)
    # Torch's own gradient of the same logit at the last feature map
    maps = torch.from_numpy(graph.feature_maps(values)[-1][1][None]).requires_grad_()
    logit = network.head(network.relu(network.hidden(network.flatten(maps))))[0, 0]
    (gradient,) = torch.autograd.grad(-logit, maps)
    assert found.places is not None
    np.testing.assert_allclose(found.places, (gradient * maps).sum(1)[0].detach().numpy(), atol=1e-6)
    assert found.score == pytest.approx(-float(logit.detach()), abs=1e-5)
    assert found.method == DENSE


def test_what_cannot_be_followed_is_said(tmp_path: Path) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(30), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    graph, _ = opened(network, tmp_path, 2)
    found = contributions(graph, graph.run(PIXELS), towards=0, against=1)
    assert found.places is None
    assert "no activation map" in found.method


def test_every_layer_of_the_course_is_seen(tmp_path: Path) -> None:
    graph, _ = opened(build("course", (32, 32), outputs=1, channels=(8, 4)), tmp_path, 2)
    found = graph.feature_maps(graph.run(PIXELS))
    assert [(layer.name, layer.kind, maps.shape) for layer, maps in found] == [
        ("blocks.convolution1", "convolution", (8, 30, 30)),
        ("", "max pooling, ReLU", (8, 15, 15)),
        ("blocks.convolution2", "convolution", (4, 13, 13)),
        ("", "max pooling, ReLU", (4, 6, 6)),
    ]
