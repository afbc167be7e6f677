"""Brian 2 runs Diehl and Cook's network: the same equations in its language, on the same input spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from spikeloom.bench.rivals import Rival
from spikeloom.plasticity import Circuit, Network, Population

CELLS = """
dv/dt = ((rest - v) + ge * (0 - v) + gi * (inhibited - v)) / tau : 1 (unless refractory)
dge/dt = -ge / tau_e : 1
dgi/dt = -gi / tau_i : 1
dtheta/dt = -theta / tau_theta : 1
"""
SYNAPSES = """
w : 1
dfresh/dt = -fresh / tau_pre : 1 (event-driven)
dpost1/dt = -post1 / tau_post1 : 1 (event-driven)
dpost2/dt = -post2 / tau_post2 : 1 (event-driven)
"""


class Brian(Rival):
    """Brian 2, generating code for `target`: "cython" or "numpy"."""

    impl = "brian2"
    requirement = "Brian2==2.9.0"
    module = "brian2"

    def learner(self, ours: Network, target: str) -> Learner:
        """The network of `ours` with its weights, delays and thresholds."""
        return Learner(ours, target)


class Learner:
    """A network of Brian 2 that takes images one after the other."""

    def __init__(self, ours: Network, target: str) -> None:
        import brian2 as b

        b.prefs.codegen.target = target
        b.prefs.logging.file_log = False
        self.b, self.c, self.clock = b, ours.circuit, b.Clock(ours.circuit.dt * b.ms)
        c, state, ms = self.c, {name: value.numpy() for name, value in ours.state.items()}, b.ms
        self.input = b.SpikeGeneratorGroup(c.inputs, [], [] * ms, clock=self.clock)
        self.e = self._cells(c, c.excitatory, f"v = {c.excitatory.reset}; theta += {c.theta_plus}")
        self.i = self._cells(c, c.inhibitory, f"v = {c.inhibitory.reset}")
        self.e.theta = state["theta"]
        r = c.rule
        constants = {name: getattr(r, name) * ms for name in ("tau_pre", "tau_post1", "tau_post2")}
        self.synapses = b.Synapses(
            self.input, self.e, SYNAPSES, clock=self.clock, namespace=constants,
            on_pre=f"ge_post += w; w = clip(w - {r.rate_pre} * post1, {r.low}, {r.high}); fresh = 1",
            on_post=f"w = clip(w + {r.rate_post} * fresh * post2, {r.low}, {r.high}); post1 = 1; post2 = 1",
        )  # fmt: skip
        self.synapses.connect()
        self.synapses.pre.order = -1  # input spikes act before those of the cells
        self.synapses.w = state["weights"].ravel()
        self.synapses.pre.delay = state["delays"].ravel() * c.dt * ms
        forward = b.Synapses(self.e, self.i, on_pre=f"ge_post += {c.to_inhibitory}", clock=self.clock)
        forward.connect(j="i")
        back = b.Synapses(self.i, self.e, on_pre=f"gi_post += {c.to_excitatory}", clock=self.clock)
        back.connect("i != j")
        self.monitor = b.SpikeMonitor(self.e, record=False)
        self.net = b.Network(self.input, self.e, self.i, self.synapses, forward, back, self.monitor)

    def _cells(self, c: Circuit, cell: Population, reset: str) -> Any:
        ms = self.b.ms
        constants = {"rest": cell.rest, "inhibited": cell.inhibited, "tau": cell.tau * ms}
        constants |= {name: getattr(c, name) * ms for name in ("tau_e", "tau_i", "tau_theta")}
        made = self.b.NeuronGroup(
            c.neurons, CELLS, threshold=f"v > theta + {cell.level}", reset=reset, refractory=cell.refractory * ms, method="euler",
            namespace=constants, clock=self.clock,
        )  # fmt: skip
        made.v = cell.rest
        return made

    def learn(self, fired: np.ndarray) -> np.ndarray:
        """Normalise, show one image and rest; fired: bool `[steps, inputs]`. Returns spikes of the excitatory cells `[neurons]`."""
        b, c = self.b, self.c
        weights = np.array(self.synapses.w).reshape(c.inputs, c.neurons)
        self.synapses.w = (weights * (c.total / weights.sum(0))).ravel()
        steps, inputs = fired.nonzero()
        self.input.set_spikes(inputs, steps * c.dt * b.ms + self.net.t)
        before = np.array(self.monitor.count)
        self.net.run(c.image * b.ms)
        counts = np.array(self.monitor.count) - before
        self.net.run(c.rest * b.ms)
        return counts

    def difference(self, state: dict[str, Tensor]) -> float:
        """The largest distance of a weight or a threshold from `state`."""
        weights = np.abs(np.array(self.synapses.w).reshape(self.c.inputs, -1) - state["weights"].numpy()).max()
        return float(np.maximum(weights, np.abs(np.array(self.e.theta) - state["theta"].numpy()).max()))
