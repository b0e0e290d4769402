"""Ghosts: parts of a batch normalised each by its own statistics, so that threads need not meet in every layer.

Ghost batch normalisation: Hoffer et al. 2017, arXiv:1705.08741. The size of a ghost is fixed, so what is learnt
does not depend on the number of threads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

# Images normalised together: enough for steady statistics, and two of them keep two threads busy at batch 64.
GHOST = 32


def replicas(network: nn.Module, batch_size: int) -> tuple[nn.Module, ...]:
    """Copies of a network, one for each ghost of a batch, that share its parameters and own their statistics.

    >>> network = nn.BatchNorm2d(3)
    >>> first, second = replicas(network, 64)
    >>> first.weight is network.weight, first.running_mean is second.running_mean
    (True, False)
    """
    shared = {id(parameter): parameter for parameter in network.parameters()}
    return tuple(copy.deepcopy(network, dict(shared)) for _ in range(math.ceil(batch_size / GHOST)))


def share_statistics(network: nn.Module, ghosts: Sequence[nn.Module], used: Sequence[int]) -> None:
    """Give the network and all ghosts the mean of the statistics of those used, weighted by their images.

    `used` holds the images that the first len(used) ghosts saw in this step.
    """
    if not used:
        return
    weights = [count / sum(used) for count in used]
    others = [dict(ghost.named_buffers()) for ghost in ghosts]
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            seen = [other[name] for other in others[: len(used)]]
            if buffer.is_floating_point():
                # Numbers of Python, not a tensor of weights, which a GPU would have to wait for.
                buffer.copy_(torch.stack(torch._foreach_mul(seen, weights)).sum(0))
            else:
                buffer.copy_(seen[0])  # batches counted
            for other in others:
                other[name].copy_(buffer)
