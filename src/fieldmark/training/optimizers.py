"""OPTIMIZERS: the rules by which weights follow their gradients, each as Keras defines it.

torch.optim has RMSprop and Adam too, but puts epsilon elsewhere: outside the square root for RMSprop, after
the bias correction for Adam. With Keras's epsilon of 1e-7 that is another training: in its first step RMSprop
moves a weight whose gradient is 1e-5 by 0.03 learning rates in Keras and by 3.1 in torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

RHO = 0.9
BETAS = (0.9, 0.999)
MOMENTUM = 0.9
EPSILON = 1e-7

Tensors = list[torch.Tensor]
# Moves weights in place, by gradients, what it kept of earlier steps, learning rate and number of the step.
Rule = Callable[[Tensors, Tensors, list[Tensors], float, int], None]
# From parameters, learning rate and weight decay.
Builder = Callable[[Iterable[nn.Parameter] | Iterable[dict[str, Any]], float, float], torch.optim.Optimizer]


def rmsprop(weights: Tensors, gradients: Tensors, kept: list[Tensors], learning_rate: float, step: int) -> None:
    """RMSprop: rho 0.9, epsilon inside the square root, no momentum, not centred.

    velocity = rho * velocity + (1 - rho) * gradient²
    weight   = weight - learning_rate * gradient / sqrt(velocity + epsilon)

    Tieleman and Hinton 2012, lecture 6.5; keras/src/optimizers/rmsprop.py of Keras 3.15, `update_step`.
    """
    (velocities,) = kept
    torch._foreach_mul_(velocities, RHO)
    torch._foreach_addcmul_(velocities, gradients, gradients, 1 - RHO)
    roots = torch._foreach_add(velocities, EPSILON)
    torch._foreach_sqrt_(roots)
    torch._foreach_addcdiv_(weights, gradients, roots, -learning_rate)


def adam(weights: Tensors, gradients: Tensors, kept: list[Tensors], learning_rate: float, step: int) -> None:
    """Adam: beta 0.9 and 0.999, epsilon added before the bias correction (the paper's "epsilon hat").

    momentum = beta1 * momentum + (1 - beta1) * gradient
    velocity = beta2 * velocity + (1 - beta2) * gradient²
    rate     = learning_rate * sqrt(1 - beta2^step) / (1 - beta1^step)
    weight   = weight - rate * momentum / (sqrt(velocity) + epsilon)

    Kingma and Ba 2014, arXiv:1412.6980, section 2; keras/src/optimizers/adam.py of Keras 3.15, `update_step`.
    """
    momenta, velocities = kept
    first, second = BETAS
    torch._foreach_lerp_(momenta, gradients, 1 - first)
    torch._foreach_mul_(velocities, second)
    torch._foreach_addcmul_(velocities, gradients, gradients, 1 - second)
    roots = torch._foreach_sqrt(velocities)
    torch._foreach_add_(roots, EPSILON)
    rate = learning_rate * math.sqrt(1 - second**step) / (1 - first**step)
    torch._foreach_addcdiv_(weights, momenta, roots, -rate)


def sgd(weights: Tensors, gradients: Tensors, kept: list[Tensors], learning_rate: float, step: int) -> None:
    """Stochastic gradient descent with Nesterov momentum 0.9.

    momentum = 0.9 * momentum - learning_rate * gradient
    weight   = weight + 0.9 * momentum - learning_rate * gradient

    Nesterov as Sutskever et al. 2013 write it; keras/src/optimizers/sgd.py of Keras 3.15, `update_step`.
    """
    (momenta,) = kept
    torch._foreach_mul_(momenta, MOMENTUM)
    torch._foreach_add_(momenta, gradients, alpha=-learning_rate)
    torch._foreach_add_(weights, momenta, alpha=MOMENTUM)
    torch._foreach_add_(weights, gradients, alpha=-learning_rate)


class RuleOptimizer(torch.optim.Optimizer):
    """Moves parameters by a rule; what it keeps of earlier steps is in `state_dict` by the names of `keeps`.

    Weight decay is decoupled, as in AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101): every step takes
    learning_rate * weight_decay of each kernel and matrix away. Biases and normalisation do not decay.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        learning_rate: float,
        weight_decay: float = 0.0,
        *,
        rule: Rule,
        keeps: tuple[str, ...],
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay, "steps": 0})
        self.rule = rule
        self.keeps = keeps

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; no rule here needs a closure."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            group["steps"] += 1
            kernels = [weight for weight in weights if weight.dim() > 1]
            if group["weight_decay"] and kernels:
                torch._foreach_mul_(kernels, 1 - group["lr"] * group["weight_decay"])
            kept = [[self._kept(weight, name) for weight in weights] for name in self.keeps]
            self.rule(weights, [weight.grad for weight in weights], kept, group["lr"], group["steps"])

    def _kept(self, weight: torch.Tensor, name: str) -> torch.Tensor:
        state: dict[str, Any] = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight)
        tensor: torch.Tensor = state[name]
        return tensor


OPTIMIZERS: dict[str, Builder] = {
    "rmsprop": functools.partial(RuleOptimizer, rule=rmsprop, keeps=("velocity",)),
    "adam": functools.partial(RuleOptimizer, rule=adam, keeps=("momentum", "velocity")),
    "sgd": functools.partial(RuleOptimizer, rule=sgd, keeps=("momentum",)),
}
