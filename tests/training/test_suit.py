"""How a network is best run on this machine: micro-batches that fit, and layouts that it can take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.step import Loss, make_step
from fieldmark.training.suit import (
    BLOCK_BYTES,
    CACHE_BYTES,
    depends_on_company,
    images_in_cache,
    last_level_cache_bytes,
    runs_blocked,
)

SIZE = 40  # pixels
SHAPE = (SIZE, SIZE, 3)


class MinusMean(nn.Module):
    """Looks at the whole batch without being called BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x - x.mean(dim=0)).flatten(1)[:, :2]


class Noisy(nn.Module):
    """Leaves something to chance without being called dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x + torch.rand_like(x)).flatten(1)[:, :2]


class OtherWhenBlocked(nn.Module):
    """Answers in both layouts, but not the same."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x) if x.is_mkldnn else 2 * self.convolution(x)


@pytest.mark.parametrize(
    "network",
    [
        build("convnet", (SIZE, SIZE), outputs=1),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2), nn.Dropout(0.01)),
        MinusMean(),
        Noisy(),
    ],
    ids=["BatchNorm", "dropout", "statistics of its own", "chance"],
)
def test_networks_that_look_at_the_batch_get_it_whole(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    assert depends_on_company(network, SHAPE)
    assert network.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert make_step(network, Preprocessing(width=SIZE, height=SIZE), Loss(), 8).micro_batch is None


def test_a_network_that_cannot_be_copied_is_trained_on_whole_batches() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(2, 3, SIZE, SIZE))
    copied = make_step(network, Preprocessing(width=SIZE, height=SIZE), Loss(), 64)
    network[0].kept = network[0].weight * 2  # not a leaf: deepcopy refuses it
    whole = make_step(network, Preprocessing(width=SIZE, height=SIZE), Loss(), 64)
    assert (len(copied.ghosts), whole.ghosts, whole.micro_batch) == (2, (), None)


def test_micro_batches_of_the_course_fit_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("course", (300, 300), outputs=1)
    # The first pooling: 298 x 298 x 16 floats in, 149 x 149 x 16 out.
    widest, block = 4 * 16 * (298 * 298 + 149 * 149), 4 * 16 * 298 * 298
    cache = 15 * 2**20
    monkeypatch.setattr("fieldmark.training.suit.last_level_cache_bytes", lambda: cache)
    assert images_in_cache(network, (300, 300, 3)) == cache // widest == 2
    assert images_in_cache(network, (300, 300, 3), threads=2) == 1
    assert images_in_cache(network, (300, 300, 3), threads=64) == 1
    monkeypatch.setattr("fieldmark.training.suit.last_level_cache_bytes", lambda: 2**40)
    assert images_in_cache(network, (300, 300, 3)) == BLOCK_BYTES // block == 2


def test_every_thread_gets_some_images_of_a_small_batch() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        network = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
        assert make_step(network, Preprocessing(width=4, height=4), Loss(), 32).micro_batch == 8
    finally:
        torch.set_num_threads(before)


def test_the_cache_is_read_where_the_system_tells_it(tmp_path: Path) -> None:
    for index, size in enumerate(["48K", "2048K", "36864K", "odd"]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert last_level_cache_bytes(tmp_path) == 36 * 2**20
    assert last_level_cache_bytes(tmp_path / "absent") == CACHE_BYTES


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_only_what_gives_the_same_runs_blocked() -> None:
    assert runs_blocked(build("course", (SIZE, SIZE), outputs=2), SHAPE)
    assert not runs_blocked(build("course", (SIZE, SIZE), outputs=2).double(), SHAPE)
    assert not runs_blocked(MinusMean(), SHAPE)
    assert not runs_blocked(OtherWhenBlocked(), SHAPE)
