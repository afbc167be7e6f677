from spikeloom.core import bibliography
from spikeloom.experiments.spikeprop import SpikePropClassifier
from spikeloom.train.run import Claim


def spikeprop_cancer() -> SpikePropClassifier:
    """Wisconsin breast cancer by SpikeProp: the diagnostic set (569 samples, 30 features); the paper's has 699 samples of 9 features."""
    return SpikePropClassifier(
        recipe="spikeprop-cancer",
        title="SpikeProp on Wisconsin breast cancer",
        paper=bibliography.SPIKEPROP,
        data="breast-cancer",
        claim=Claim("accuracy", 0.97, "recalled from the paper's table, on the original Wisconsin set", "M"),
        hidden=6,
        fields=6,
        epochs=5,
        batch=32,
        optimiser="adam",
        minutes=3,
    )
