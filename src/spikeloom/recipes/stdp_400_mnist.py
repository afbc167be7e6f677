from spikeloom.core import bibliography
from spikeloom.experiments.stdp import Stdp
from spikeloom.train.run import Claim


def stdp_400_mnist() -> Stdp:
    """Diehl and Cook's network with 400 excitatory neurons, one pass over MNIST; the authors' budget is `passes=3`."""
    return Stdp(
        recipe="stdp-400-mnist",
        title="STDP, 400 neurons, MNIST",
        paper=bibliography.DIEHL_COOK,
        claim=Claim("top-1", 0.87, "paper, 400 neurons", "M"),
        data="mnist",
        neurons=400,
        minutes=8,
    )
