import json
import random

import numpy as np
import pytest
import torch
from torch.nn import functional

from fieldmark.errors import RecipeError
from fieldmark.networks.table import NETWORKS, build
from tests.networks.golden import COMMAND, GOLDEN, parameter_counts

# (height, width) that are quick
SMALL = {"course": (28, 28), "convnet": (28, 28), "efficientnet-lite0": (32, 32)}
OBLONG = {"course": (61, 90), "convnet": (97, 75), "efficientnet-lite0": (65, 34)}

every_network = pytest.mark.parametrize("name", NETWORKS)


def images(count, size, seed=0):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_tests_cover_every_network():
    assert SMALL.keys() == OBLONG.keys() == NETWORKS.keys()


@every_network
@pytest.mark.parametrize("outputs", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [SMALL, OBLONG], ids=["small", "oblong"])
def test_output_is_head_of_features(name, outputs, sizes):
    network = build(name, sizes[name], outputs).eval()
    x = images(3, sizes[name])
    with torch.no_grad():
        logits, features = network(x), network.features(x)
        assert logits.shape == (3, outputs)
        assert features.shape == (3, network.head.in_features)
        torch.testing.assert_close(logits, network.head(features))


@every_network
def test_every_parameter_gets_a_gradient(name):
    network = build(name, SMALL[name], outputs=3)
    functional.cross_entropy(network(images(6, SMALL[name])), torch.arange(6) % 3).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.abs().max() > 0, path


@every_network
@pytest.mark.parametrize("outputs", [1, 4])
def test_learns_eight_images_by_heart(name, outputs):
    network = build(name, SMALL[name], outputs)
    x, labels = images(8, SMALL[name]), torch.arange(8) % max(2, outputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        logits = network(x)
        loss = (
            functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
            if outputs == 1
            else functional.cross_entropy(logits, labels)
        )
        if loss < 0.1:
            break
        loss.backward()
        optimizer.step()
    predicted = (logits[:, 0] > 0).long() if outputs == 1 else logits.argmax(1)
    assert predicted.tolist() == labels.tolist()
    assert loss < 0.1


@every_network
def test_answers_do_not_depend_on_batch_mates(name):
    network = build(name, SMALL[name], outputs=3)
    network(images(8, SMALL[name], seed=1))  # running statistics other than the first ones
    network.eval()
    x = images(4, SMALL[name])
    company = torch.cat([x[:1], 10 * images(3, SMALL[name], seed=2)])
    with torch.no_grad():
        alone = network(x[:1])
        torch.testing.assert_close(network(x)[:1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(company)[:1], alone, rtol=1e-4, atol=1e-5)


@every_network
def test_first_weights_are_a_function_of_the_seed(name):
    first, again, other = (build(name, SMALL[name], 2, seed=seed).state_dict() for seed in (3, 3, 4))
    for path, tensor in first.items():
        assert torch.equal(tensor, again[path]), path
    assert not torch.equal(first["head.weight"], other["head.weight"])


@every_network
def test_random_state_of_the_caller_is_left_alone(name):
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002 - it is the global one
    build(name, SMALL[name], 2, seed=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


def test_parameter_counts_are_the_golden_ones():
    golden = json.loads(GOLDEN.read_text())
    assert parameter_counts() == golden["parameters"], f"if it is meant: {COMMAND}"


@every_network
def test_smallest_image_works_and_one_pixel_less_is_refused(name):
    minimum = NETWORKS[name].minimum_image_size(None)
    network = build(name, (minimum, minimum + 9), outputs=3)
    assert network(images(2, (minimum, minimum + 9))).shape == (2, 3)
    with pytest.raises(RecipeError, match=f"{minimum - 1} is below what {name} needs: at least {minimum} pixels"):
        build(name, (300, minimum - 1), outputs=3)


def test_too_small_for_five_blocks_says_the_minimum():
    with pytest.raises(RecipeError) as caught:
        build("course", (20, 300), 1, channels=(16, 32, 64, 64, 64))
    assert str(caught.value) == "image size 20 is below what course needs with 5 blocks: at least 94 pixels"
    assert "--image-size 94" in caught.value.hint
    assert "--channels" in caught.value.hint


def test_unknown_network_lists_the_known():
    with pytest.raises(RecipeError, match="no network named 'resnet'") as caught:
        build("resnet", (96, 96), 1)
    for name in NETWORKS:
        assert name in caught.value.hint


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("efficientnet-lite0", (16, 32), "fixed"),
        ("course", (), "whole numbers from 1"),
        ("convnet", (32, 0), "whole numbers from 1"),
    ],
)
def test_channels_that_cannot_be_are_refused(name, channels, message):
    with pytest.raises(RecipeError, match=message):
        build(name, (224, 224), 1, channels=channels)


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if entry.takes_channels])
def test_channels_set_the_stack(name):
    network = build(name, (64, 64), 2, channels=(8, 12))
    widths = {m.out_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d)}
    assert widths == {8, 12}
    assert network(images(2, (64, 64))).shape == (2, 2)
