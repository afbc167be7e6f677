"""A training step of a whole network, or of one layer: forward, loss and backward; the optimiser is left out."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.bench import child, rivals, shares
from spikeloom.bench.gate import Verdict
from spikeloom.bench.memory import saved_bytes
from spikeloom.bench.problem import GATED, RELU, Options, Problem, Step, contenders
from spikeloom.bench.race import Field, Place, head, rows
from spikeloom.bench.rivals.eager import reference_backend
from spikeloom.bench.timing import Run
from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN

# loss, relative; gradients, distance over length. In float64 nothing flips a spike; in 32 bits a fused norm may round one across; in 16
# bits so many flip that gradients only have to be finite: the equations were checked before
TOLERANCE = {torch.float64: (1e-8, 1e-6), torch.float32: (1e-2, 0.1), torch.bfloat16: (0.1, 1e6)}


def bench(options: Options, place: Place, told: Callable[[str], object] = print, what: str = "network") -> dict[str, Any]:
    """The record of one benchmark of a network or layer."""
    with place.settled() as device:
        return _bench(options, place, told, what, device)


def _bench(options: Options, place: Place, told: Callable[[str], object], what: str, device: torch.device) -> dict[str, Any]:
    problem = Problem(options, device)
    field, steps = gather(problem, told)
    x, _ = problem.batch(options.batch)
    target = torch.empty_like(x)
    runs: dict[str, Run] = {"copy": lambda: target.copy_(x), **steps}
    results = rows(field.race(runs, place, "training step"), "forward_backward", place)
    units, by_name = neurons_per_step(problem), {row["impl"]: row for row in results}
    for impl, row in by_name.items():
        row["vs_relu"] = _over(row, by_name.get(RELU))
        saved = saved_bytes(steps[impl].forward, without=steps[impl].net.parameters()) if impl in steps else 0
        row |= {"saved_mib": saved / 2**20, "saved_bytes_per_element_step": saved / (units * options.batch * options.steps)}
        row["peak_mib"] = _peak(impl, options, place, told) if impl in steps and options.peak == "yes" else None
        if impl in steps and options.where == "yes" and device.type == "cpu":
            row["where"] = shares.measure(steps[impl])
        if isinstance(net := getattr(getattr(steps.get(impl), "net", None), "snn", None), SNN):
            row["densities"] = {name: taken.density for name, taken in net.ways().items()}
    constants = {"neuron": _neuron(problem.net), "neurons_per_image": units, "parameters": sum(p.numel() for p in problem.net.parameters())}
    step = "forward, mean cross-entropy and backward; without the optimiser"
    return head(what, asdict(options), place, field) | {"constants": constants | {"step": step}, "results": results}


def gather(problem: Problem, told: Callable[[str], object]) -> tuple[Field, dict[str, Step]]:
    """The training steps that passed their gate, and the field with all verdicts and reasons."""
    field, steps = Field(), {}
    x, _ = problem.batch(1)
    field.judge(Verdict("copy", torch.equal(torch.empty_like(x).copy_(x), x), "copied bit by bit"), told)
    for impl, rival in contenders().items():
        if impl == "eager" and problem.options.reference == "no":
            continue
        version, reason = rival.available()
        try:
            if version is None:
                raise rivals.Unavailable(reason)
            verdict = check(impl, problem)
        except rivals.Unavailable as why:
            field.leave_out(impl, str(why), told)
            continue
        field.versions[impl] = version
        if field.judge(verdict, told):
            steps[impl] = problem.step(impl)
    relu = problem.step(RELU)
    sound = bool(torch.isfinite(relu())) and not any(isinstance(m, Neuron) for m in relu.net.modules())
    if field.judge(Verdict(RELU, sound, "finite loss, no neuron left; another network on purpose"), told):
        steps[RELU] = relu
    return field, steps


def check(impl: str, problem: Problem) -> Verdict:
    """Loss and gradients against our reference loop with the same weights on a small batch: in float64, and as they will be timed."""
    timed = torch.bfloat16 if problem.options.precision == "bf16" else torch.float32
    try:
        expected = _learned(_oracle(problem), *problem.batch(GATED, torch.float64))
        if not expected[1].norm() > 0:
            return Verdict(impl, False, "the reference loop passes no gradient: nothing can be compared")
        texts = []
        for dtype in dict.fromkeys((torch.float64, torch.float32, timed)):
            wide = torch.float64 if dtype is torch.float64 else torch.float32
            net = problem.made(impl).to(wide)
            got = _learned(net, *problem.batch(GATED, wide), "bf16" if dtype is torch.bfloat16 else "32")
            errors = abs(got[0] - expected[0]) / max(abs(expected[0]), 1e-12), _apart(got[1], expected[1])
            texts.append(f"{str(dtype).removeprefix('torch.')}: loss within {errors[0]:.1g}, gradients within {errors[1]:.1g}")
            if not all(error <= most for error, most in zip(errors, TOLERANCE[dtype], strict=True)):
                return Verdict(impl, False, "off the reference loop, " + texts[-1])
        return Verdict(impl, True, "; ".join(texts))
    except rivals.Unavailable:
        raise
    except Exception as error:  # whatever foreign code raises: it is not timed, and the record says why
        return Verdict(impl, False, f"raised {type(error).__name__}: {str(error).strip() or 'no message'}")


def _oracle(problem: Problem) -> nn.Module:
    net = rivals.known["Eager"]().network(problem.net)
    return net.to(problem.device, torch.float64)


def _learned(net: nn.Module, x: Tensor, labels: Tensor, precision: str = "32") -> tuple[float, Tensor]:
    loss = Step(net, x, labels, precision)()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
    return loss.item(), torch.cat([g.double().flatten().cpu() for g in grads])


def _apart(got: Tensor, wanted: Tensor) -> float:
    if got.shape != wanted.shape:
        return math.inf
    return ((got - wanted).norm() / wanted.norm().clamp_min(1e-30)).item()


def neurons_per_step(problem: Problem) -> int:
    """Neurons of the network, per image and step."""
    counted: list[int] = []
    net = copy.deepcopy(problem.net)
    for module in net.modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda m, args, out: counted.append(out[0].numel()))
    with torch.no_grad(), reference_backend():
        SNN(net, steps=1, encoder=None)(problem.batch(1)[0][:1])
    return sum(counted)


def _neuron(net: nn.Module) -> str:
    return next((str(m) for m in net.modules() if isinstance(m, Neuron)), "none")


def _over(row: dict[str, Any], unit: dict[str, Any] | None) -> float | None:
    if unit is None:
        return None
    ratios = [a / b for a, b in zip(row["times_ms"], unit["times_ms"], strict=True) if a is not None and b is not None]
    return statistics.median(ratios) if ratios else None


def _peak(impl: str, options: Options, place: Place, told: Callable[[str], object]) -> float:
    told(f"peak memory of {impl}, in a process of its own")
    here = {"device": place.device, "threads": place.threads, "malloc": place.malloc}
    return child.run({"task": "peak", "impl": impl, "options": asdict(replace(options, updates=0)), **here})["bytes"] / 2**20
