"""One neuron on `[T, N]`: forward, and forward with backward, of every implementation that has it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeloom import neurons
from spikeloom.bench import gate, rivals
from spikeloom.bench.gate import Verdict
from spikeloom.bench.memory import saved_bytes
from spikeloom.bench.race import Field, Place, head, rows
from spikeloom.bench.rivals import Contender
from spikeloom.bench.timing import Run
from spikeloom.core import registry
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.neurons import Neuron

# what is compared where an implementation other than ours exists; every other neuron runs at its defaults
CONSTANTS: dict[str, dict[str, Any]] = {"LIF": {"tau": 2.0, "threshold": 1.0, "surrogate": "atan"}, "PLIF": {"tau": 2.0}}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
TINY = (4, 64)  # T, N of the call whose overhead is measured
PASSES = ("forward", "forward_backward")


@dataclass(frozen=True)
class Options:
    """neuron: a registered name, or FILE.py:CLASS."""

    neuron: str = "LIF"
    steps: int = 16
    neurons: int = 2**21
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "neurons"):
            if getattr(self, name) < 1:
                raise ParameterError(refusal(f"bench --{name}", getattr(self, name), "a whole number of at least 1"))
        if self.dtype not in DTYPES:
            raise ParameterError(refusal("bench --dtype", self.dtype, "one of " + ", ".join(DTYPES)))


def load(name: str) -> Neuron:
    """The neuron of that name, or an instance of CLASS from `FILE.py:CLASS`, with the benchmark's constants.

    Raises ParameterError when there is no such file, class or name.
    """
    file, _, label = name.rpartition(":")
    if not file.endswith(".py"):
        return registry.lookup("neuron", name, neurons.known, ParameterError)(**CONSTANTS.get(name, {}))
    if not Path(file).is_file():
        raise ParameterError(refusal("bench --neuron", name, "FILE.py:CLASS", f"there is no file {file}"))
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    cls = getattr(module, label, None)
    if not (isinstance(cls, type) and issubclass(cls, Neuron)):
        raise ParameterError(refusal("bench --neuron", name, "FILE.py:CLASS with a subclass of spikeloom.Neuron"))
    return cls()


def gather(kind: Neuron, x: Tensor, told: Callable[[str], object]) -> tuple[Field, list[Contender]]:
    """Every implementation of `kind` that passes its gate on x `[T, N]`, and the field with all verdicts and reasons."""
    field, contenders = Field(), []
    field.judge(_copies(x), told)
    for cls in rivals.known.values():
        rival = cls()
        version, reason = rival.available()
        if version is None:
            field.leave_out(rival.impl, reason, told)
            continue
        field.versions[rival.impl] = version
        try:
            contender = rival.neuron(kind)
        except rivals.Unavailable as why:
            field.leave_out(rival.impl, str(why), told)
            continue
        if field.judge(gate.check(contender, x), told):
            contenders.append(contender)
    return field, contenders


def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record of one benchmark of a neuron."""
    with place.settled() as device:
        return _bench(options, place, told, device)


def _bench(options: Options, place: Place, told: Callable[[str], object], device: torch.device) -> dict[str, Any]:
    dtype = DTYPES[options.dtype]
    kind = load(options.neuron).to(device, torch.float64 if dtype is torch.float64 else torch.float32)
    x = gate.drive(options.steps, options.neurons, device=device).to(dtype)
    field, contenders = gather(kind, x, told)
    with torch.no_grad():
        rate = kind.run(x[:, : gate.COLUMNS])[0].float().mean().item()
    results = [row for which in PASSES for row in _measured(which, x, contenders, field, place)]
    tiny = gate.drive(*TINY, device=device).to(dtype)
    quick = replace(place, plan=replace(place.plan, budget=min(2.0, place.plan.budget)))
    overhead: dict[str, dict[str, float]] = {}
    for which in PASSES:
        for impl, timing in field.race(_runs(which, tiny, contenders), quick, f"overhead, {which}").items():
            overhead.setdefault(impl, {})[which] = timing.median * 1e6
    constants = {"neuron": str(kind), "input": "N(0.5, 1.5)", "rate": rate, "gate_margin": gate.MARGIN}
    return head("neuron", asdict(options), place, field) | {
        "constants": constants, "results": results, "overhead_us": overhead, "overhead_shape": list(TINY),
    }  # fmt: skip


def _measured(which: str, x: Tensor, contenders: list[Contender], field: Field, place: Place) -> list[dict[str, Any]]:
    found = rows(field.race(_runs(which, x, contenders), place, which), which, place)
    by_name = {contender.impl: contender for contender in contenders}
    for row in found:
        contender = by_name.get(row["impl"])
        saved = 0
        if contender is not None:
            row |= {"backend": contender.backend, "note": contender.note}
            if which == "forward_backward":
                asked = x.detach().requires_grad_()
                saved = saved_bytes(lambda c=contender, x=asked: c.call(x), without=contender.fixed)
        row["saved_bytes_per_element_step"] = saved / x.numel()
    return found


def _runs(which: str, x: Tensor, contenders: list[Contender]) -> dict[str, Run]:
    """What is timed: `copy` first, then every contender on x `[T, N]`."""
    target = torch.empty_like(x)
    runs: dict[str, Run] = {"copy": lambda: target.copy_(x)}
    grad = torch.randn_like(x)
    for contender in contenders:
        runs[contender.impl] = _forward(contender, x) if which == "forward" else _training(contender, x, grad)
    return runs


def _forward(contender: Contender, x: Tensor) -> Run:
    def run() -> None:
        with torch.no_grad():
            contender.call(x)

    return run


def _training(contender: Contender, x: Tensor, grad: Tensor) -> Run:
    asked = x.detach().requires_grad_()

    def run() -> None:
        contender.call(asked).backward(grad)
        asked.grad = None
        for p in contender.learned:
            p.grad = None

    return run


def _copies(x: Tensor) -> Verdict:
    same = torch.equal(torch.empty_like(x).copy_(x), x)
    return Verdict("copy", same, "copied bit by bit" if same else "the copy differs")
