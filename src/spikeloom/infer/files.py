"""A Runner in one file: safetensors, its stages as JSON in the header. Reading it runs no code but this package's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.core.errors import DataError, SpikeloomError, refusal
from spikeloom.infer.gate import Gate
from spikeloom.infer.runner import Runner
from spikeloom.infer.stages import Cat, Current, Flat, Layer, Plain, Pool, Stage
from spikeloom.infer.terms import Term
from spikeloom.infer.whole import WholeCurrent, WholeLayer, WholeTerm
from spikeloom.neurons import Neuron, known
from spikeloom.nn import encoders
from spikeloom.nn.encoders import Encoder
from spikeloom.nn.pool import SpikingMaxPool2d

FORMAT = 1


def save(runner: Runner, path: str | Path) -> None:
    """Write a Runner to `path` (`.safetensors`), atomically. SpikeloomError for a stage or encoder that a file cannot hold."""
    from safetensors.torch import save_file

    path = Path(path)
    head = {
        "format": FORMAT, "steps": runner.steps, "prelude": runner.prelude, "encoder": _encoder(runner.encoder), "output": runner.output,
        "about": runner.about, "precision": runner.precision, "loss": runner.loss,
        "stages": [{"name": name, "inputs": stage.inputs, **_told(name, stage)} for name, stage in runner.stages.items()],
    }  # fmt: skip
    tensors = {
        f"{k}.{name}": value.detach().contiguous().clone()
        for k, stage in enumerate(runner.stages.values())
        for name, value in stage.state_dict().items()
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, temporary, {"spikeloom": json.dumps(head)})
    temporary.chmod(0o644)
    os.replace(temporary, path)


def load(path: str | Path) -> Runner:
    """The Runner that `save` wrote. Raises DataError for a file that is missing, truncated, or something else."""
    from safetensors import safe_open

    if not Path(path).is_file():
        raise DataError(f"Runner: no file {path}; write one with runner.save(path)")
    try:
        with safe_open(path, "pt") as file:
            head = json.loads((file.metadata() or {})["spikeloom"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if head["format"] != FORMAT:
            raise DataError(refusal("Runner file format", head["format"], f"{FORMAT}", "compile and save it again with this version"))
        stages = {}
        for k, told in enumerate(head["stages"]):
            own = {name.removeprefix(f"{k}."): value for name, value in tensors.items() if name.startswith(f"{k}.")}
            stages[told["name"]] = _stage(told, own)
        encoder = None if head["encoder"] is None else encoders.known[head["encoder"]]()
        runner = Runner(stages, head["output"], head["steps"], encoder, head["prelude"])
        runner.about, runner.precision, runner.loss = head["about"], head["precision"], head["loss"]
        return runner
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"Runner: {path} cannot be read ({type(error).__name__}: {error}); it is truncated or no Runner's file") from error


def _encoder(encoder: Encoder | None) -> str | None:
    name = type(encoder).__name__
    if encoder is None:
        return None
    if encoders.known.get(name) is not type(encoder) or encoder.state_dict():
        raise SpikeloomError(refusal("Runner.save encoder", name, "one of " + ", ".join(encoders.known), "give SNN encoder=None"))
    return name


def _told(name: str, stage: Stage) -> dict[str, Any]:
    if isinstance(stage, WholeLayer):
        membranes = {"membranes": str(stage.membranes).removeprefix("torch."), "why": stage.why}
        return {"kind": "whole layer", "terms": _terms(stage), "neuron": _neuron(name, stage.neuron), **membranes}
    if isinstance(stage, WholeCurrent):
        return {"kind": "whole current", "terms": _terms(stage)}
    if isinstance(stage, Layer):
        return {"kind": "layer", "terms": _terms(stage), "neuron": _neuron(name, stage.neuron)}
    if isinstance(stage, Current):
        return {"kind": "current", "terms": _terms(stage)}
    if isinstance(stage, Pool):
        return {"kind": "pool", "pool": stage.kind, "window": [stage.kernel, stage.stride, stage.padding]}
    if isinstance(stage, Flat):
        return {"kind": "flat", "end": stage.end}
    if isinstance(stage, Cat):
        return {"kind": "cat"}
    if isinstance(stage, Gate):
        return {"kind": "spiking pool", "passes": stage.module.passes, "window": stage.module.window}
    given = type(stage.module).__name__ if isinstance(stage, Plain) else type(stage).__name__
    raise SpikeloomError(f"Runner.save: {name} is a {given}, which a file cannot hold; keep the network itself, and compile it again")


def _terms(stage: Any) -> list[dict[str, Any]]:
    whole = isinstance(stage, WholeLayer | WholeCurrent)
    return [{"options": t.options, **({"source": t.source, "kind": t.kind} if whole else {})} for t in stage.terms]


def _neuron(name: str, neuron: Neuron) -> dict[str, Any]:
    kind = type(neuron).__name__
    if known.get(kind) is not type(neuron):
        advice = "no neuron of spikeloom.neurons; keep the network itself, and compile it again"
        raise SpikeloomError(f"Runner.save: {name} is a {kind}, {advice}")
    return {"kind": kind, "options": {option: getattr(neuron, option) for option in (*neuron.choices, *neuron.counts)}}


def _stage(told: dict[str, Any], tensors: dict[str, Tensor]) -> Stage:
    inputs, kind = tuple(told["inputs"]), told["kind"]
    if "terms" in told:
        stage: Stage = _current(inputs, told)
    elif kind == "pool":
        stage = Pool(inputs, told["pool"], *_tuples(told["window"]))
    elif kind in ("flat", "cat"):
        stage = Cat(inputs) if kind == "cat" else Flat(inputs, told["end"])
    else:
        stage = Gate(inputs, SpikingMaxPool2d(**told["window"], passes=told["passes"]))
    for name, value in tensors.items():
        owner, _, last = name.rpartition(".")
        module: nn.Module = stage.get_submodule(owner)
        if last not in module._buffers:
            raise DataError(f"Runner: {told['name']} has no tensor {name!r}; the file is of another version")
        module._buffers[last] = value
    return stage.eval()


def _current(inputs: tuple[str, ...], told: dict[str, Any]) -> Stage:
    kind, options = told["kind"], [tuple(_tuples(term["options"])) for term in told["terms"]]
    neuron: Any = None
    if "neuron" in told:
        neuron = known[told["neuron"]["kind"]](**told["neuron"]["options"])
        for param in neuron.params:  # what is not in the file is None
            setattr(neuron, param, None)
    if kind in ("layer", "current"):
        terms = [Term(None, None, o) for o in options]
        return Current(inputs, terms) if neuron is None else Layer(inputs, terms, neuron)
    whole = [WholeTerm(None, None, o, t["source"], t["kind"]) for o, t in zip(options, told["terms"], strict=True)]
    if neuron is None:
        return WholeCurrent(inputs, whole, None, None)
    return WholeLayer(inputs, whole, neuron, None, None, getattr(torch, told["membranes"]), told["why"])


def _tuples(options: Any) -> list[Any]:
    return [tuple(o) if isinstance(o, list) else o for o in options]
