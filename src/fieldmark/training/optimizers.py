"""OPTIMIZERS: the rules by which weights follow their gradients, each as Keras defines it.

torch.optim has RMSprop and Adam too, but puts epsilon elsewhere: outside the square root for RMSprop, behind the
bias correction for Adam. With Keras's epsilon of 1e-7 that is another training: a gradient of 1e-5 moves a weight
by lr / 32 under Keras's RMSprop in its first step and by 3.2 lr under torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

Builder = Callable[[Iterable[nn.Parameter], float, float], torch.optim.Optimizer]


class RMSprop(torch.optim.Optimizer):
    """RMSprop as in Keras: rho 0.9, epsilon 1e-7 inside the square root, no momentum, not centred.

    velocity = rho * velocity + (1 - rho) * gradient²
    weight   = weight - learning_rate * gradient / sqrt(velocity + epsilon)

    Tieleman and Hinton 2012, lecture 6.5; `update_step` of keras/src/optimizers/rmsprop.py, Keras 3.15.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float = 0.0,
        *,
        rho: float = 0.9,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(
            parameters, {"lr": learning_rate, "weight_decay": weight_decay, "rho": rho, "epsilon": epsilon}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            weights, gradients = _decayed(group)
            velocities = [_state(self, weight, "velocity") for weight in weights]
            torch._foreach_mul_(velocities, group["rho"])
            torch._foreach_addcmul_(velocities, gradients, gradients, 1 - group["rho"])
            roots = torch._foreach_add(velocities, group["epsilon"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(weights, gradients, roots, -group["lr"])


class Adam(torch.optim.Optimizer):
    """Adam as in Keras: beta 0.9 and 0.999, epsilon 1e-7 added before the bias correction.

    momentum = momentum + (1 - beta1) * (gradient - momentum)
    velocity = velocity + (1 - beta2) * (gradient² - velocity)
    weight   = weight - learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t) * momentum / (sqrt(velocity) + epsilon)

    Kingma and Ba 2014, arXiv:1412.6980 (its "epsilon hat"); keras/src/optimizers/adam.py, Keras 3.15.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float = 0.0,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(
            parameters,
            {
                "lr": learning_rate,
                "weight_decay": weight_decay,
                "betas": betas,
                "epsilon": epsilon,
                "steps": 0,
            },
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            weights, gradients = _decayed(group)
            momenta = [_state(self, weight, "momentum") for weight in weights]
            velocities = [_state(self, weight, "velocity") for weight in weights]
            group["steps"] += 1
            first, second = group["betas"]
            torch._foreach_lerp_(momenta, gradients, 1 - first)
            torch._foreach_mul_(velocities, second)
            torch._foreach_addcmul_(velocities, gradients, gradients, 1 - second)
            roots = torch._foreach_sqrt(velocities)
            torch._foreach_add_(roots, group["epsilon"])
            correction = math.sqrt(1 - second ** group["steps"]) / (1 - first ** group["steps"])
            torch._foreach_addcdiv_(weights, momenta, roots, -group["lr"] * correction)


def sgd(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov momentum 0.9, as Keras's at a constant learning rate.

    momentum = 0.9 * momentum + gradient
    weight   = weight - learning_rate * (gradient + 0.9 * momentum)

    Keras keeps learning_rate * momentum instead: where the learning rate changes, its momentum keeps the old one.
    """
    raise NotImplementedError


def _decayed(group: dict[str, Any]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The weights of a group that have gradients, after their decay, and these gradients."""
    weights = [weight for weight in group["params"] if weight.grad is not None]
    if group["weight_decay"] and weights:
        # Decoupled, as in AdamW and in Keras: Loshchilov and Hutter 2017, arXiv:1711.05101.
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
    return weights, [weight.grad for weight in weights]


def _state(optimizer: torch.optim.Optimizer, weight: torch.Tensor, name: str) -> torch.Tensor:
    state = optimizer.state[weight]
    if name not in state:
        state[name] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    tensor: torch.Tensor = state[name]
    return tensor


OPTIMIZERS: dict[str, Builder] = {"rmsprop": RMSprop, "adam": Adam, "sgd": sgd}
