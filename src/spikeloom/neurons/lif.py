"""LIF: the leaky integrator, in the two conventions of the field.

    charge  u[t] = decay v[t-1] + x[t]                      drive="raw"          (STBP, tdBN, MLF, TET)
            u[t] = v[t-1] + (x[t] - v[t-1]) / tau           drive="leak_scaled"  (SEW-ResNet, PLIF); decay = 1 - 1/tau
    fire    s[t] = [u[t] > threshold]
    reset   v[t] = u[t] (1 - s[t])   or   u[t] - threshold s[t]

Shapes: x, s, v `[B, ...]` per step. STBP writes the reset as a factor (1 - s[t-1]) on the next step's decay: the same numbers.
The paper fires at or above the threshold; the authors' released code, whose constants are the defaults here, strictly above.
"""

from typing import Any

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError
from spikeloom.core.params import Choice, Param
from spikeloom.neurons.base import Neuron, State


class LIF(Neuron):
    """Leaky integrate and fire. `LIF(decay=0.2)` is raw drive; `LIF(tau=2.0)` is leak-scaled drive with decay 1 - 1/tau."""

    paper = bibliography.STBP
    decay = Param(0.2, low=0, high=1, low_open=True, doc="share of the membrane kept from one step to the next")
    threshold = Param(0.5, low=0, low_open=True, doc="membrane at which the neuron fires")
    drive = Choice(("raw", "leak_scaled"), "whether the input is multiplied by 1 - decay")
    reduces_to = (({"decay": 1.0, "threshold": 1.0}, "IF", {"fires": "above", "reset_gradient": "through", "surrogate": "rectangle"}),)
    # METHODS A.4.1, worked by hand
    hand_trace = {
        "options": {"decay": 0.2, "threshold": 0.5},
        "x": [0.3, 0.3, 0.3, 0.45, 0.6, 0.1, 0.95, 0.2],
        "spikes": [0, 0, 0, 1, 1, 0, 1, 0],
        "membrane": [0.3, 0.36, 0.372, 0.5244, 0.6, 0.1, 0.97, 0.2],
    }

    def __init__(self, *, tau: float | None = None, **values: Any) -> None:
        if tau is not None:
            if "decay" in values:
                raise ParameterError(f"LIF: got tau={tau!r} and decay={values['decay']!r}; give one of them (decay = 1 - 1/tau)")
            values["decay"] = 1 - 1 / Param(2.0, low=1, low_open=True).check("LIF.tau", tau)
            values.setdefault("drive", "leak_scaled")
        super().__init__(**values)

    def advice(self, name: str, value: Any) -> str:
        if name == "decay" and isinstance(value, int | float) and value > 1:
            return f"did you mean tau={value:g} (decay={1 - 1 / value:.2f})?"
        return ""

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        (v,) = state
        u = p.decay * v + x if self.drive == "raw" else v + (x - v) * (1 - p.decay)
        s = self.fire(u, p.threshold)
        return s, (self.reset_membrane(u, s, p.threshold),)
