"""The shell every neuron shares: declared parameters, firing, reset, and time folded into the batch.

A neuron's file holds its equations in one pure `step`; nothing here knows which neuron it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spikeloom import engine, surrogates
from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.core.paper import Paper
from spikeloom.core.params import Choice, Count, Param, Values, declared, nearest
from spikeloom.core.temporal import State, Temporal
from spikeloom.surrogates.base import Surrogate, positive


class _Fire(torch.autograd.Function):
    """True step forward, surrogate derivative backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, derivative: Any, at_or_above: bool) -> Tensor:
        return 1 - positive(-z) if at_or_above else positive(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.derivative = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad * ctx.derivative(ctx.saved_tensors[0]), None, None


class Neuron(Temporal):
    """A spiking neuron: `Param`s, `Choice`s, the names of its states, and `step`.

    Inside an `SNN` it takes and returns `[T*B, ...]` (the SNN sets `steps`). Called alone with `steps` unset it takes and
    returns `[T, B, ...]`. Every call starts from the initial state; nothing has to be reset.

    Args (all by keyword):
        surrogate: an instance or the name of one of `spikeloom.surrogates`.
        memory: what a fused call keeps for the backward pass: `"input"`, or `"packed"`: a few bits per neuron and step (2 per threshold
            for the rectangle with a detached reset; a neuron whose gradient needs more is refused when it is first differentiated).
        learnable: names of the parameters to train, e.g. `("decay", "threshold")`.
        any declared parameter: a number, or one number per channel (axis 1 of `[B, C, ...]`).
        any declared choice: one of its literals.

    Raises:
        ParameterError: an unknown name, or a value out of range.
    """

    paper: ClassVar[Paper]
    params: ClassVar[dict[str, Param]] = {}
    choices: ClassVar[dict[str, Choice]] = {}
    counts: ClassVar[dict[str, Count]] = {}
    default_surrogate: ClassVar[Surrogate | str] = "rectangle"
    reduces_to: ClassVar[tuple[tuple[dict[str, Any], str, dict[str, Any]], ...]] = ()
    hand_trace: ClassVar[dict[str, Any] | None] = None

    _emits: ClassVar[bool] = False  # set on an instance while a layer behind it takes its spikes as bits, and where its window is open

    reset = Choice(("zero", "subtract"), "after a spike the membrane goes to 0, or loses one threshold")
    reset_gradient = Choice(("through", "detached"), "whether the backward pass sees the reset's dependence on the spike")
    fires = Choice(("above", "at_or_above", "smooth"), "u > threshold, u >= threshold, or the surrogate's primitive (gradient checks)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._collect()

    @classmethod
    def _collect(cls) -> None:
        # moved out of the class body, so that the instance attributes of the same names are found
        for table, kind in (("params", Param), ("choices", Choice), ("counts", Count)):
            own = declared(cls, kind)
            setattr(cls, table, {**getattr(cls, table), **own})
            for name in own:
                if name in vars(cls):
                    delattr(cls, name)

    def __init__(
        self, *, surrogate: Surrogate | str | None = None, learnable: Sequence[str] | str = (), memory: str = "input", **values: Any
    ) -> None:
        super().__init__()
        label = type(self).__name__
        known = {**self.params, **self.choices, **self.counts}
        for name in values:
            if name not in known:
                raise ParameterError(f"{label}: no parameter {name!r}; {nearest(name, known)}")
        learnable = (learnable,) if isinstance(learnable, str) else tuple(learnable)
        for name in learnable:
            if name not in self.params:
                raise ParameterError(f"{label}.learnable: no parameter {name!r}; {nearest(name, self.params)}")
        for name, param in self.params.items():
            value = param.check(f"{label}.{name}", values.get(name, param.default), self.advice(name, values.get(name)))
            if name in learnable:
                setattr(self, name, nn.Parameter(value.clone()))
            else:
                self.register_buffer(name, value.clone())
        for name, rule in {**self.choices, **self.counts}.items():
            setattr(self, name, rule.check(f"{label}.{name}", values.get(name, rule.default)))
        self.surrogate = surrogates.build(surrogate if surrogate is not None else self.default_surrogate)
        self.learnable = learnable
        self.memory = Choice(("input", "packed")).check(f"{label}.memory", memory)
        # a norm to apply to the input first, set while an SNN runs; not a submodule
        self.__dict__["_norm"] = None
        self.steps = None
        self._probe: list[tuple[Tensor, Tensor]] | None = None

    # -- what a neuron's file gives ------------------------------------------------------------------------------------

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state variables, in the order `step` takes them."""
        return ("v",)

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        """One time step: input x and state in, spikes and state out; `p.name` are the parameter values. Pure."""
        raise NotImplementedError

    def advice(self, name: str, value: Any) -> str:
        """What to do about a bad `name`; empty for the parameter's own text."""
        return ""

    def values(self) -> dict[str, Tensor]:
        """Parameter values as `step` sees them, `[]` or `[channels]`; override where `step` wants a transform of one."""
        return {name: value for name in self.params if (value := getattr(self, name)) is not None}

    def initial(self, x: Tensor) -> State:
        """State before the first step, each `[B, ...]` like x; zero."""
        return tuple(torch.zeros_like(x) for _ in self.states)

    @property
    def starts_at_zero(self) -> bool:
        """Whether the state before the first step is zero, so that none has to be handed to a kernel."""
        return type(self).initial is Neuron.initial

    # -- what step uses ------------------------------------------------------------------------------------------------

    def fire(self, membrane: Tensor, threshold: Tensor) -> Tensor:
        """1 where the membrane passes the threshold, else 0; the surrogate's derivative in the backward pass."""
        z = membrane - threshold
        if self._probe is not None:
            self._probe.append((membrane, z))
        if self.fires == "smooth":
            return self.surrogate.primitive(z)
        return _Fire.apply(z, self.surrogate.derivative, self.fires == "at_or_above")

    def reset_membrane(self, membrane: Tensor, spike: Tensor, threshold: Tensor) -> Tensor:
        """The membrane after firing, by the named reset and reset gradient."""
        if self.reset_gradient == "detached":
            spike = spike.detach()
        return membrane * (1 - spike) if self.reset == "zero" else membrane - spike * threshold

    # -- running -------------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of x, same shape: `[T*B, ...]` inside an SNN, `[T, B, ...]` alone."""
        carried = self.carried()
        if carried is not None:
            states, place = carried
            spikes, states[place] = self._run(x, 1, states.get(place))
            return spikes
        if self.steps is None:
            return self.run(x)[0]
        return self._run(x, self.steps, None, keep=False)[0]

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Spikes `[T, B, ...]` and final state for input `[T, B, ...]`, from `state` (None: the initial one)."""
        folded, steps = self._folded(x, None)
        spikes, state = self._run(folded, steps, state)
        return spikes.unflatten(0, x.shape[:2]), state

    def trace(self, x: Tensor, steps: int | None = None) -> dict[str, Tensor]:
        """Reference run that also keeps what is inside: `spikes` `[T, B, ...]`; `membrane` and `distance` (membrane minus
        threshold, both before the reset) `[T, K, B, ...]` for a unit with K thresholds. x as in `forward`."""
        folded, steps = self._folded(x, steps or self.steps)
        self._probe = []
        try:
            with torch.no_grad():
                spikes, _ = engine.reference.scan(self, folded, steps, self._start(folded, steps), self._shaped(folded))
            membrane, distance = (torch.stack(rows).unflatten(0, (steps, -1)) for rows in zip(*self._probe, strict=True))
        finally:
            self._probe = None
        return {"spikes": spikes.unflatten(0, (steps, -1)), "membrane": membrane, "distance": distance}

    def _run(self, x: Tensor, steps: int, state: State | None, keep: bool = True) -> tuple[Tensor, State]:
        x, steps = self._folded(x, steps)
        values = self._shaped(x)
        if state is None and not self.starts_at_zero:
            state = self._start(x, steps)
        return engine.run(self, x, steps, state, values, keep, self._norm, self._emits)

    def _folded(self, x: Tensor, steps: int | None) -> tuple[Tensor, int]:
        """x as `[T*B, ...]` and T; without `steps` x comes as `[T, B, ...]`."""
        label, given = f"{type(self).__name__} input", list(x.shape)
        if steps is None:
            if x.dim() < 2 or not x.shape[0]:
                raise ShapeError(refusal(label, given, "[T, B, ...]", "add a time and a batch axis"))
            return x.flatten(0, 1), x.shape[0]
        if x.dim() < 1 or x.shape[0] % steps:
            raise ShapeError(refusal(label, given, f"[T*B, ...] with T = {steps}", "wrap the network in SNN(net, steps=T)"))
        return x, steps

    def _start(self, x: Tensor, steps: int) -> State:
        first = x[: x.shape[0] // steps]
        return self.initial(first.float() if first.dtype in (torch.float16, torch.bfloat16) else first)

    def _shaped(self, x: Tensor) -> Any:
        """`values()` viewed so that they broadcast along axis 1 of x."""
        shaped = {}
        for name, value in self.values().items():
            if value.dim() == 1:
                if x.dim() < 2 or x.shape[1] != value.shape[0]:
                    raise ShapeError(
                        refusal(f"{type(self).__name__}.{name}", f"{value.shape[0]} channels", f"{x.shape[1:2]} for input {list(x.shape)}")
                    )
                value = value.view(-1, *[1] * (x.dim() - 2))
            shaped[name] = value
        return Values(shaped) if torch.compiler.is_compiling() else SimpleNamespace(**shaped)

    def extra_repr(self) -> str:
        values = []
        for name in (name for name in self.params if getattr(self, name) is not None):
            value = getattr(self, name)
            values.append(f"{name}={value.item():.4g}" if value.dim() == 0 else f"{name}=[{value.numel()} channels]")
        named = [f"{n}={getattr(self, n)!r}" for n in (*self.counts, *self.choices)]
        return ", ".join([*values, *named, f"surrogate={self.surrogate}"] + ([f"learnable={self.learnable}"] if self.learnable else []))


Neuron._collect()
