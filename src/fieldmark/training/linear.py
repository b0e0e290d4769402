"""Linear: the weights' gradients of linear layers, as one product for many micro-batches.

A dense layer of millions of weights after a small feature map costs little arithmetic an image, but its gradient is
as large as its weights: written and added anew for each micro-batch, that is more traffic than all else in the layer.
So the layers' inputs and the gradients of their outputs, which are small, wait until all micro-batches are through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class LateLinear(TorchFunctionMode):
    """While entered, linear layers keep their weights out of the graph; `add_to` adds these weights' gradients.

    After each forward, the gradients of `outputs` have to be handed to `keep`. One for each thread.

    >>> weight, x = torch.nn.Parameter(torch.ones(1, 2)), torch.tensor([[3.0, 4.0]])
    >>> total = torch.zeros(1, 2)
    >>> with LateLinear() as late:
    ...     loss = linear(x, weight).sum()
    >>> late.keep(torch.autograd.grad(loss, late.outputs))
    >>> late.add_to([weight], [total])
    >>> total
    tensor([[3., 4.]])
    """

    def __init__(self) -> None:
        super().__init__()
        self._running: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # weight, input, output
        self._kept: dict[torch.Tensor, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`; a linear layer's own way, all others as they are."""
        if func is not linear or not (args[0].dim() == 2 and args[1].is_leaf and args[1].requires_grad):
            return func(*args, **(kwargs or {}))
        x, weight, *bias = args
        # oneDNN would arrange the large weights in its own layout for each micro-batch.
        x = x.to_dense() if x.is_mkldnn else x
        output = linear(x, weight.detach(), *bias, **(kwargs or {}))
        if not output.requires_grad:
            output.requires_grad_()
        self._running.append((weight, x.detach(), output))
        return output

    @property
    def outputs(self) -> list[torch.Tensor]:
        """The outputs of the linear layers since the last `keep`."""
        return [output for _, _, output in self._running]

    def keep(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Take the gradients of `outputs`, in their order; None where the loss does not depend on one."""
        for (weight, x, _), gradient in zip(self._running, gradients, strict=True):
            if gradient is not None:
                inputs, slopes = self._kept.setdefault(weight, ([], []))
                inputs.append(x)
                slopes.append(gradient)
        self._running.clear()

    def add_to(self, weights: Sequence[torch.Tensor], totals: Sequence[torch.Tensor]) -> None:
        """Add the gradients of those `weights` that linear layers used to their `totals`."""
        for weight, total in zip(weights, totals, strict=True):
            if weight in self._kept:
                inputs, slopes = self._kept[weight]
                total.addmm_(torch.cat(slopes).T, torch.cat(inputs))
