"""Every constant of Diehl and Cook's network; milliseconds, millivolts, conductances in units of the leak."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.plasticity import diehl_cook


@dataclass(frozen=True)
class Population:
    """Leaky integrate-and-fire neurons with conductances: tau dv/dt = (rest - v) + g_e (0 - v) + g_i (inhibited - v).

    level: the threshold, to which an adaptive part is added; refractory: how long v is held at `reset` after a spike.
    """

    rest: float
    reset: float
    level: float
    tau: float
    refractory: float
    inhibited: float


@dataclass(frozen=True)
class Circuit:
    """Poisson inputs -> `neurons` excitatory cells <-> as many inhibitory ones, as in peter-u-diehl/stdp-mnist.

    A pixel fires at pixel / 8 * intensity Hz. An image that brings fewer than `least` spikes is shown again with intensity + 1, at most
    `attempts` times (the authors: without end). level of the excitatory cells: theta - 20 - 52.
    """

    inputs: int = 784
    neurons: int = 400
    dt: float = 0.5
    image: float = 350.0
    rest: float = 150.0
    intensity: float = 2.0
    least: int = 5
    attempts: int = 50
    delay: float = 10.0
    total: float = 78.0
    tau_e: float = 1.0
    tau_i: float = 2.0
    to_inhibitory: float = 10.4
    to_excitatory: float = 17.0
    theta: float = 20.0
    theta_plus: float = 0.05
    tau_theta: float = 1e7
    excitatory: Population = field(default_factory=lambda: Population(-65.0, -65.0, -72.0, 100.0, 5.0, -100.0))
    inhibitory: Population = field(default_factory=lambda: Population(-60.0, -45.0, -40.0, 10.0, 2.0, -85.0))
    rule: diehl_cook.Constants = field(default_factory=diehl_cook.Constants)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, (int, float)) and not (value > 0 or (entry.name in ("least", "theta_plus") and value == 0)):
                raise ParameterError(refusal(f"Circuit.{entry.name}", value, "above 0"))
        for name, value, most in (("inputs", self.inputs, 65535), ("neurons", self.neurons, 65535), ("delay / dt", self.slots, 255)):
            if value > most:  # the kernel numbers them in 16 and 8 bits
                raise ParameterError(refusal(f"Circuit.{name}", value, f"at most {most}"))
        if self.rest < self.delay:
            raise ParameterError(refusal("Circuit.rest", self.rest, f"at least the largest delay, {self.delay} ms", "no spike outlives it"))

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of an image and of the rest after it."""
        return round(self.image / self.dt), round(self.rest / self.dt)

    @property
    def slots(self) -> int:
        """Delays are 0, 1 ... slots - 1 steps."""
        return round(self.delay / self.dt)

    def held(self, population: Population) -> int:
        """Steps from a spike to the next one at the earliest."""
        return round(population.refractory / self.dt)

    def kept(self, tau: float) -> float:
        """What forward Euler leaves of a quantity after one step."""
        return 1 - self.dt / tau
