"""What the networks were when last looked at; `python -m tests.networks.golden` writes it down anew."""

import json
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from fieldmark.networks.efficientnet_lite import pretrained
from fieldmark.networks.summary import total_parameters
from fieldmark.networks.table import NETWORKS, build
from fieldmark.preprocessing import Preprocessing, to_pixels

GOLDEN = Path(__file__).parent.parent / "golden" / "networks.json"
COMMAND = "python -m tests.networks.golden"
PHOTOS = ("china.jpg", "flower.jpg")  # a palace in Beijing, a dahlia; in the scikit-learn wheel


def parameter_counts():
    return {
        f"{name}, {size} px, {outputs} outputs": total_parameters(build(name, (size, size), outputs))
        for name, entry in NETWORKS.items()
        for size in (28 if name == "course" else 64, entry.image_size)
        for outputs in (1, 3)
    }


def imagenet_probabilities(photo):
    """Probability of each of the 1000 ImageNet classes, by the pretrained network at 224 px."""
    preprocessing = Preprocessing(width=224, height=224, fit="crop", interpolation="bicubic")
    pixels = to_pixels(Image.fromarray(load_sample_image(photo)), preprocessing)
    scaled = (torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32) - 127) / 128
    with torch.no_grad():
        return pretrained().eval()(scaled).softmax(1)[0]


def top_five(photo):
    probabilities, classes = imagenet_probabilities(photo).topk(5)
    return {str(int(c)): round(float(p), 4) for c, p in zip(classes, probabilities, strict=True)}


def main():
    content = {
        "command": COMMAND,
        "parameters": parameter_counts(),
        "imagenet": {photo: top_five(photo) for photo in PHOTOS},
    }
    GOLDEN.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
