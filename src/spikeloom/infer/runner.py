"""The Runner: a network as stages, all steps of a chunk through one stage after the other, only bits between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.infer.stages import Layer, Stage
from spikeloom.infer.values import Still, Value, dense, packed
from spikeloom.nn.encoders import Encoder

CHUNK = 32  # steps


class Row(NamedTuple):
    """How a stage ran last. way: `"fused"`, `"events"` or `"dense"`; density: events per input element of each term; reason: why dense.

    numbers: what it counts in: `"float32"`, `"int8"` (weights; whole currents, membranes and thresholds), or `"int8, float32 membranes"`.
    """

    name: str
    kind: str
    way: str
    density: tuple[float, ...]
    reason: str
    numbers: str = "float32"


class Runner:
    """What `compile` makes of an SNN, for inference on a CPU, in float32 or whole numbers.

    Call: x as the SNN takes it, `[B, ...]` or `[prelude + T, B, ...]`, gives the output of every step, `[T, B, classes]`.

    precision: of its weights. loss: what that cost on the calibration inputs; None in float32. about: what else its file is to say,
    such as the images it takes: anything that JSON holds.
    """

    precision = "float32"
    loss: dict[str, float] | None = None

    def __init__(self, stages: dict[str, Stage], output: str, steps: int, encoder: Encoder | None, prelude: int) -> None:
        self.stages, self.output, self.steps, self.encoder, self.prelude = stages, output, steps, encoder, prelude
        self.chunk, self.about = CHUNK, dict[str, Any]()
        last = {given: name for name, stage in stages.items() for given in stage.inputs}
        self._over = {name: [i for i in last if last[i] == name and i != output] for name in stages}  # what nobody reads after a stage

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Output of every step, `[T, B, classes]`."""
        total, state, rows = self.prelude + self.steps, {}, []
        encoded = self._encoded(x.float(), total)
        for t in range(0, total, self.chunk):
            part = encoded if isinstance(encoded, Still) else packed(encoded[t : t + self.chunk].flatten(0, 1))
            steps = min(self.chunk, total - t)
            rows.append(dense(self._run(part, steps, state), steps).unflatten(0, (steps, -1)))
        return torch.cat(rows)[self.prelude :]

    def stream(self) -> Stream:
        """A run step by step: `y_t = stream(x_t)`, both `[B, ...]`; it yields the steps of a prelude too."""
        return Stream(self)

    def save(self, path: str | Path) -> None:
        """Write it to one file, which `spikeloom.infer.load` reads; see `files.save`."""
        from spikeloom.infer.files import save

        save(self, path)

    def explain(self) -> list[Row]:
        """A row for each stage that computes currents or spikes, or that is dense, as of the last call."""
        return [_row(name, stage) for name, stage in self.stages.items()]

    def _encoded(self, x: Tensor, total: int) -> Tensor | Still:
        if self.encoder is None:
            if x.dim() < 2 or x.shape[0] != total:
                raise ShapeError(refusal("Runner input", list(x.shape), f"[T, B, ...] with T = {total}", "or give the SNN an encoder"))
            return x
        return Still(x) if self.encoder.still else self.encoder(x, total)

    def _run(self, value: Value, steps: int, state: dict[str, Any]) -> Value:
        values = {"": value}
        for name, stage in self.stages.items():
            values[name], state[name] = stage.run([values[i] for i in stage.inputs], steps, state.get(name))
            for i in self._over[name]:
                del values[i]
        return values[self.output]


class Stream:
    """One run of a Runner, step by step; it owns the state."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.state = runner, {}

    def __call__(self, x: Tensor) -> Tensor:
        """The output `[B, classes]` of the next step for its input `[B, ...]`, encoded."""
        with torch.no_grad():
            value = Still(x) if self.runner.encoder is not None and self.runner.encoder.still else packed(x.float())
            return dense(self.runner._run(value, 1, self.state), 1)


def _row(name: str, stage: Any) -> Row:
    terms = list(getattr(stage, "terms", []))
    reasons = [r for r in (stage.reason, *(term.reason for term in terms)) if r]
    way = "fused" if isinstance(stage, Layer) and not stage.reason else "events" if not reasons else "dense"
    kind = type(stage.neuron).__name__ if isinstance(stage, Layer) else type(stage).__name__.removeprefix("Whole")
    return Row(name, kind, way, tuple(term.density for term in terms), "; ".join([*reasons, *filter(None, [stage.why])]), stage.numbers)
