from spikeloom.core import bibliography
from spikeloom.experiments.spikeprop import SpikePropClassifier
from spikeloom.train.run import Claim


def spikeprop_cancer() -> SpikePropClassifier:
    """Wisconsin breast cancer by SpikeProp: the diagnostic set (569 samples, 30 features); the paper's has 699 samples of 9 features.

    The paper's rule is as in `spikeprop-iris`.
    """
    return SpikePropClassifier(
        recipe="spikeprop-cancer",
        title="SpikeProp on Wisconsin breast cancer",
        paper=bibliography.SPIKEPROP,
        data="breast-cancer",
        claim=Claim("accuracy", 0.97, "recalled from the paper's table, on the original Wisconsin set", "M"),
        hidden=8,
        delays=(1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0),
        fields=6,
        tails=0.02,
        noise=0.05,
        drive=10.0,
        epochs=8,
        batch=32,
        optimiser="adam",
        lr=0.02,
        error="margin",
        minutes=3,
    )
