"""A run as a frozen value: what is trained, on what, how, and what the paper claims for it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikeloom import models
from spikeloom.core.errors import RecipeError, refusal
from spikeloom.core.paper import Paper
from spikeloom.core.params import nearest
from spikeloom.nn.snn import SNN

DATA = ("augment", "validation", "frames")  # fields of Data that an override can name


@dataclass(frozen=True)
class Claim:
    """What the paper reports. `tag` is how well we know it: C code, L logs or abstract; M recalled and R reconstructed are unverified."""

    metric: str
    value: float | None
    where: str
    tag: str


@dataclass(frozen=True)
class Data:
    """A set, its augmentations in order, and how many training images are kept for validation (0: the set's default).

    frames: how recordings of an event camera are cut into as many frames as the run has steps, `"time"` or `"count"`; `"none"` for images.
    """

    name: str
    augment: tuple[str, ...] = ()
    validation: int = 0
    frames: str = "none"


@dataclass(frozen=True)
class Network:
    """A function of `spikeloom.models` and its options."""

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """How the weights are fitted.

    batch is the whole batch over all devices; lr the peak rate; warmup in epochs; schedule `"step"` multiplies by step_factor
    every step_every epochs, `"cosine"` falls to 0 at the last step, `"constant"` stays. clip: largest gradient norm, 0 for none.
    precision and accelerator are Lightning's names.
    """

    epochs: int
    batch: int
    optimiser: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "step"
    step_every: int = 40
    step_factor: float = 0.1
    warmup: float = 0.0
    loss: str = "mean_cross_entropy"
    clip: float = 0.0
    precision: str = "32-true"
    layout: str = "channels_last"
    accelerator: str = "auto"
    devices: int = 1
    logger: str = "csv"
    seed: int = 0


OWN = ("steps", "encoder", "engine")  # fields of a run that an override can name


@dataclass(frozen=True)
class Run:
    """One complete experiment. engine: of its `SNN`. minutes: expected on `machine`. failure: why the method itself may fail here."""

    recipe: str
    title: str
    paper: Paper
    data: Data
    network: Network
    steps: int
    training: Training
    encoder: str = "direct"
    engine: str = "dense"
    claim: Claim | None = None
    minutes: float = 0.0
    machine: str = "2 CPU cores"
    failure: str | None = None


def build(run: Run) -> SNN:
    """The run's network with fresh weights from torch's global generator. Raises RecipeError for frames that an encoder would read."""
    if run.data.frames != "none" and run.encoder != "none":
        raise RecipeError(refusal(f"{run.recipe}.encoder", run.encoder, "'none'", f"frames={run.data.frames!r} have a time axis already"))
    return SNN(models.known[run.network.function](**run.network.options), run.steps, run.encoder, engine=run.engine)


def options(run: Run) -> dict[str, Any]:
    """Every field that an override can name, with its present value."""
    signature = inspect.signature(models.known[run.network.function]).parameters.values()
    network = {p.name: p.default for p in signature if p.default is not inspect.Parameter.empty}
    network.update(run.network.options)
    own = {name: getattr(run, name) for name in OWN} | {name: getattr(run.data, name) for name in DATA}
    return {**network, **dataclasses.asdict(run.training), **own}


def override(run: Run, changes: Mapping[str, Any]) -> Run:
    """`run` with fields replaced; strings are read as the field's type. Raises RecipeError for an unknown field or a bad value."""
    known = options(run)
    for name, value in changes.items():
        if name not in known:
            raise RecipeError(f"{run.recipe}: no field {name!r}; {nearest(name, known)}")
        value = read_as(f"{run.recipe}.{name}", value, known[name])
        if name in OWN:
            run = dataclasses.replace(run, **{name: value})
        elif name in DATA:
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, **{name: value}))
        elif name in {f.name for f in dataclasses.fields(Training)}:
            run = dataclasses.replace(run, training=dataclasses.replace(run.training, **{name: value}))
        else:
            run = dataclasses.replace(run, network=Network(run.network.function, {**run.network.options, name: value}))
    return run


def read_as(name: str, value: Any, present: Any) -> Any:
    """`value` in the type of `present` where it is a text; raises RecipeError with `name` if it cannot be read."""
    if not isinstance(value, str) or isinstance(present, str):
        return value
    try:
        if isinstance(present, list | tuple):
            kind = type(present[0]) if present else str
            return tuple(kind(item) for item in value.split(",") if item)
        return type(present)(value)
    except (TypeError, ValueError):
        raise RecipeError(refusal(name, value, f"of type {type(present).__name__} (now {present!r})")) from None


def papers(run: Run) -> list[Paper]:
    """Every publication that the run rests on: its own, those of its network's parts, of its loss and of its data."""
    import sys

    from spikeloom import data
    from spikeloom.nn import losses

    net = build(run)
    found = [run.paper, *(m.paper for m in net.modules() if isinstance(getattr(m, "paper", None), Paper))]
    found += [m.surrogate.paper for m in net.modules() if hasattr(m, "surrogate")]
    found.append(sys.modules[losses.build(run.training.loss).__module__].paper)
    if run.data.name in data.known:
        found.append(data.known[run.data.name].paper)
    return list(dict.fromkeys(found))
