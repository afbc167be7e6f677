"""`compile`: an SNN becomes a Runner."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx

from spikeloom.core.params import Choice
from spikeloom.infer.plan import Refused, stages
from spikeloom.infer.quantise import quantised
from spikeloom.infer.runner import Runner
from spikeloom.infer.stages import Plain
from spikeloom.nn.fuse import traced
from spikeloom.nn.snn import SNN

PRECISIONS = ("float32", "int8")


@torch.no_grad()
def compile(snn: SNN, data: Any = None, precision: str = "float32") -> Runner:
    """A Runner that computes what `snn` does in evaluation mode, on the CPU: equal up to the rounding of sums, and so but for rare spikes.

    Args:
        snn: not changed; its weights are copied.
        data: for int8: calibration inputs as the SNN takes them, or an iterable of `[B, ...]` or (inputs, labels).
        precision: of the weights: `"float32"`, or `"int8"` with whole membranes where a neuron's equations allow them: bit-reproducible on
            every machine, what it costs as `runner.loss`.
    """
    Choice(PRECISIONS).check("compile precision", precision)
    net = copy.deepcopy(snn.net).float().cpu().eval()
    graph, reason = (net.graph, "") if isinstance(net, fx.GraphModule) else traced(net)
    try:
        found, output = stages(net, graph) if graph is not None else (None, "")
    except Refused as refused:
        found, reason = None, str(refused)
    if found is None:
        whole = Plain(("",), net)
        whole.reason, found, output = f"the whole network is one dense stage: {reason}", {"net": whole}, "net"
    runner = Runner(found, output, snn.steps, copy.deepcopy(snn.encoder), snn.prelude)
    return runner if precision == "float32" else quantised(runner, data)
