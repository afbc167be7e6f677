from spikeloom.core import bibliography
from spikeloom.experiments.stdp import Stdp
from spikeloom.train.run import Claim


def stdp_100_mnist() -> Stdp:
    """Diehl and Cook's network with 100 excitatory neurons, one pass over MNIST; the authors' budget is `passes=3`.

    Their code's constants are those of 400 neurons. With a quarter of the neurons each fires four times as often, and its threshold
    settles where only brighter images bring spikes; so a spike raises it by a quarter here. Theirs is `theta_plus=0.05`.
    """
    return Stdp(
        recipe="stdp-100-mnist",
        title="STDP, 100 neurons, MNIST",
        paper=bibliography.DIEHL_COOK,
        claim=Claim("top-1", 0.829, "paper, 100 neurons", "M"),
        data="mnist",
        neurons=100,
        theta_plus=0.0125,
        minutes=4,
    )
