"""A neuron of your own: a leaky integrator whose threshold rises with each of its spikes. Run me: `python own_neuron.py`."""

from spikeloom import SNN, Neuron
from spikeloom.core.params import Param


class AdaptiveLIF(Neuron):
    """u[t] = decay v[t-1] + x[t];  s[t] = [u[t] > threshold + a[t-1]];  a[t] = fade a[t-1] + rise s[t]."""

    decay = Param(0.5, low=0, high=1, low_open=True, doc="share of the membrane kept from one step to the next")
    threshold = Param(1.0, low=0, low_open=True, doc="membrane at which a rested neuron fires")
    fade = Param(0.5, low=0, high=1, doc="share of the adaptation kept from one step to the next")
    rise = Param(0.5, low=0, doc="how much a spike raises the threshold")
    states = ("v", "a")
    reduces_to = (({"rise": 0.0}, "LIF", {"decay": 0.5, "threshold": 1.0}),)
    # by hand, against thresholds of 1, 1.5, 1.25 and 1.625
    hand_trace = {"options": {}, "x": [1.25, 1.25, 1.25, 1.0], "spikes": [1, 0, 1, 0], "membrane": [1.25, 1.25, 1.875, 1.0]}

    def step(self, x, state, p):
        v, a = state
        u = p.decay * v + x
        s = self.fire(u, p.threshold + a)
        return s, (self.reset_membrane(u, s, p.threshold + a), p.fade * a + p.rise * s)


if __name__ == "__main__":
    import torch

    from spikeloom.testing import check_neuron

    check_neuron(AdaptiveLIF)
    net = SNN(torch.nn.Sequential(torch.nn.Linear(4, 8), AdaptiveLIF(learnable=("rise",)), torch.nn.Linear(8, 2)), steps=6)
    print(net(torch.rand(3, 4)).shape)
