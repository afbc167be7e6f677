"""Correctness before speed: a contender's spikes and gradients against its oracle, the reference loop in float64."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from spikeloom import engine
from spikeloom.bench.rivals import Contender
from spikeloom.neurons import Neuron

COLUMNS = 512
MARGIN = 1e-4  # distance to the threshold, or to a surrogate's edge, where rounding could decide
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}  # of the largest gradient


@dataclass(frozen=True)
class Verdict:
    """Whether a contender computes what it should, and the sentence that says so."""

    impl: str
    passed: bool
    text: str


def check(contender: Contender, x: Tensor) -> Verdict:
    """Spikes bit by bit, twice, and gradients of the input and of what is learned to `TOLERANCE`.

    x: `[T, N]`, the input that will be timed. The whole of it runs; a sample of columns is compared, those that rounding cannot flip.
    """
    try:
        return _check(contender, x)
    except Exception as error:  # whatever foreign code raises: it is not timed, and the record says why
        return Verdict(contender.impl, False, f"raised {type(error).__name__}: {str(error).strip() or 'no message'}")


def _check(contender: Contender, x: Tensor) -> Verdict:
    oracle = copy.deepcopy(contender.oracle).to("cpu", torch.float64)
    columns = _clear(oracle, x)
    wide = x[:, columns].cpu().double().requires_grad_()
    expected = _reference(oracle, wide)
    weights = torch.randn(wide.shape, generator=_seeded(1)).to(x.dtype)
    (expected * weights.double()).sum().backward()
    with torch.no_grad():
        quiet = contender.call(x)
    if quiet.shape != x.shape:
        return Verdict(contender.impl, False, f"spikes of shape {list(quiet.shape)} instead of {list(x.shape)}")
    asked = x.detach().requires_grad_()
    for p in contender.learned:
        p.grad = None
    spikes = contender.call(asked)
    for got, how in ((quiet, "without gradients"), (spikes, "with gradients")):
        wrong = int((got.detach()[:, columns].cpu().double() != expected.detach()).sum())
        if wrong:
            return Verdict(contender.impl, False, f"{wrong} of {expected.numel()} spikes differ from the oracle {how}")
    grad = torch.zeros_like(x)
    grad[:, columns] = weights.to(x.device)
    spikes.backward(grad)
    got = None if asked.grad is None else asked.grad[:, columns]
    pairs = [("the input", got, wide.grad)]
    pairs += [("a learned value", p.grad, q.grad) for p, q in zip(contender.learned, oracle.parameters(), strict=False)]
    worst = 0.0
    for what, found, wanted in pairs:
        error = _distance(found, wanted)
        if not error <= TOLERANCE[x.dtype]:
            return Verdict(contender.impl, False, f"the gradient of {what} is off by {error:.2g} of its largest entry")
        worst = max(worst, error)
    return Verdict(contender.impl, True, f"{expected.numel()} spikes equal, gradients within {worst:.1g} of the largest")


def _distance(got: Tensor | None, want: Tensor | None) -> float:
    if got is None or want is None:
        return 0.0 if got is want else float("inf")
    return ((got.cpu().double() - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()


def _reference(oracle: Neuron, x: Tensor) -> Tensor:
    return engine.reference.scan(oracle, x, x.shape[0], oracle.initial(x[:1]), SimpleNamespace(**oracle.values()))[0]


def _clear(oracle: Neuron, x: Tensor) -> Tensor:
    """Columns of x `[T, N]`, first to last, without those where rounding could decide something."""
    columns = torch.linspace(0, x.shape[1] - 1, min(COLUMNS, x.shape[1]), dtype=torch.float64).long()
    distance = oracle.trace(x[:, columns].cpu().double(), x.shape[0])["distance"].abs()
    near = distance < MARGIN
    edge = oracle.surrogate.half_support
    if edge < float("inf"):
        near |= (distance - edge).abs() < MARGIN
    clear = columns[~near.flatten(0, -2).any(0)]
    if not len(clear):
        raise ValueError(f"none of {len(columns)} inputs stays clear of the threshold over {x.shape[0]} steps; give more neurons")
    return clear


def drive(steps: int, neurons: int, seed: int = 0, device: torch.device | str = "cpu") -> Tensor:
    """The benchmark's input, N(0.5, 1.5) `[T, N]`."""
    return torch.randn(steps, neurons, generator=_seeded(seed, device), device=device).mul_(1.5).add_(0.5)


def _seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)
