from spikeloom.core import bibliography
from spikeloom.experiments.spikeprop_xor import SpikePropXor
from spikeloom.train.run import Claim


def spikeprop_xor() -> SpikePropXor:
    """XOR in spike times, by gradient descent at a rate of 0.01 from ten random starts."""
    return SpikePropXor(
        recipe="spikeprop-xor",
        title="SpikeProp on XOR",
        paper=bibliography.SPIKEPROP,
        claim=Claim("epochs to convergence", None, "until all four patterns are learned", "M"),
        minutes=1,
    )
