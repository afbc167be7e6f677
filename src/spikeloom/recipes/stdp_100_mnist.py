from spikeloom.core import bibliography
from spikeloom.experiments.stdp import Stdp
from spikeloom.train.run import Claim


def stdp_100_mnist() -> Stdp:
    """Diehl and Cook's network with 100 excitatory neurons, one pass over MNIST; the authors' budget is `passes=3`."""
    return Stdp(
        recipe="stdp-100-mnist",
        title="STDP, 100 neurons, MNIST",
        paper=bibliography.DIEHL_COOK,
        claim=Claim("top-1", 0.829, "paper, 100 neurons", "M"),
        data="mnist",
        neurons=100,
        minutes=8,
    )
