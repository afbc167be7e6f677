"""SpikingJelly: multi-step LIFNode and ParametricLIFNode, and networks of its multi-step layers."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.bench.rivals.base import Contender, Evaluator, Rival, Unavailable, constants, hard_leaky
from spikeloom.convert import Affine
from spikeloom.neurons import Neuron
from spikeloom.nn.norms import TdBN


class SpikingJelly(Rival):
    """Its default backend for the device, `step_mode="m"`."""

    impl = "spikingjelly"
    requirement = "spikingjelly==2.0.0"
    module = "spikingjelly.activation_based.neuron"

    def neuron(self, kind: Neuron) -> Contender:
        node = _node(kind)
        device = next(iter(kind.values().values())).device
        node.to(device)

        def call(x: Tensor) -> Tensor:
            node.reset()
            return node(x)

        # it fires at the threshold; random numbers clear of it make no difference
        return Contender(self.impl, call, kind, tuple(node.parameters()), backend="its own choice", note="multi-step")

    def network(self, net: nn.Module) -> nn.Module:
        return _MultiStep(_layers(copy.deepcopy(net)))

    def convert(self, ann: nn.Module, batches: list[Tensor]) -> nn.Module:
        from loguru import logger
        from spikingjelly.activation_based import ann2snn

        logger.disable("spikingjelly")
        # over several batches it averages their maxima, with momentum
        recipe = ann2snn.RateCodingRecipe(dataloader=batches, mode="max")
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            return ann2snn.Converter(recipe=recipe).convert(copy.deepcopy(ann))

    def evaluators(self, converted: nn.Module) -> list[Evaluator]:
        from spikingjelly.activation_based import functional, neuron

        multi = copy.deepcopy(converted)
        functional.set_step_mode(multi, "m")

        @torch.no_grad()
        def loop(x: Tensor, steps: int) -> Tensor:
            functional.reset_net(converted)
            total = converted(x)
            for _ in range(1, steps):
                total = total + converted(x)
            return total / steps

        @torch.no_grad()
        def at_once(x: Tensor, steps: int) -> Tensor:
            functional.reset_net(multi)
            return multi(x.expand(steps, *x.shape).contiguous()).mean(0)

        return [
            Evaluator(self.impl, loop, converted, neuron.IFNode, note="step mode s, a loop over time as in its tutorial"),
            Evaluator(f"{self.impl}-multi-step", at_once, multi, neuron.IFNode, note="step mode m"),
        ]


def _node(kind: Neuron) -> nn.Module:
    from spikingjelly.activation_based import neuron, surrogate

    if type(kind).__name__ == "IF" and kind.starts_at_zero and (kind.floor, kind.fires) == ("none", "at_or_above"):
        return neuron.IFNode(constants(kind)["threshold"], None if kind.reset == "subtract" else 0.0, step_mode="m")
    shared: dict[str, Any] = {
        "v_threshold": constants(kind)["threshold"], "v_reset": 0.0, "step_mode": "m", "surrogate_function": surrogate.ATan(alpha=2.0),
        "detach_reset": kind.reset_gradient == "detached",
    }  # fmt: skip
    if type(kind).__name__ == "PLIF" and kind.reset == "zero" and repr(kind.surrogate) == "ATan(alpha=2)":
        return neuron.ParametricLIFNode(init_tau=1 / constants(kind)["leak"], **shared)
    return neuron.LIFNode(tau=hard_leaky(kind, SpikingJelly.impl)["tau"], **shared)


class _MultiStep(nn.Module):
    """Resets before every call, as its users have to."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self.net)
        return self.net(x)


def _layers(module: nn.Module) -> nn.Module:
    """`module` with every leaf replaced by SpikingJelly's multi-step layer of the same weights."""
    if isinstance(module, Neuron):
        return _node(module)
    children = list(module.named_children())
    if not children:
        return _layer(module)
    for name, child in children:
        setattr(module, name, _layers(child))
    return module


def _layer(module: nn.Module) -> nn.Module:
    from spikingjelly.activation_based import layer

    if isinstance(module, nn.Conv2d) and module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros":
        made = layer.Conv2d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, bias=module.bias is not None,
            step_mode="m",
        )
    elif isinstance(module, nn.Linear):
        made = layer.Linear(module.in_features, module.out_features, bias=module.bias is not None, step_mode="m")
    elif isinstance(module, TdBN) and module.epsilon == "inside":
        # its scale is alpha * v_th
        made = layer.ThresholdDependentBatchNorm2d(module.scale, 1.0, module.channels, module.eps, module.momentum)
    elif isinstance(module, nn.MaxPool2d):
        made = layer.MaxPool2d(module.kernel_size, module.stride, module.padding, step_mode="m")
    elif isinstance(module, nn.AvgPool2d):
        made = layer.AvgPool2d(module.kernel_size, module.stride, module.padding, step_mode="m")
    elif isinstance(module, nn.AdaptiveAvgPool2d):
        made = layer.AdaptiveAvgPool2d(module.output_size, step_mode="m")
    elif isinstance(module, nn.Flatten):
        made = layer.Flatten(step_mode="m")
    elif isinstance(module, Affine):
        return layer.SeqToANNContainer(copy.deepcopy(module))
    elif isinstance(module, nn.Sequential | nn.Identity):  # an empty shortcut
        return module
    else:
        raise Unavailable(f"spikingjelly has no equivalent of {module}")
    made.load_state_dict(module.state_dict(), strict=False)
    return made
