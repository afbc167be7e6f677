from spikeloom.core import bibliography
from spikeloom.experiments.spikeprop import SpikePropClassifier
from spikeloom.train.run import Claim


def spikeprop_iris() -> SpikePropClassifier:
    """Iris by SpikeProp.

    The paper descends the plain gradient of the squared error, without noise and at one rate:
    `optimiser=sgd error=squared noise=0 schedule=constant`.
    """
    return SpikePropClassifier(
        recipe="spikeprop-iris",
        title="SpikeProp on Iris",
        paper=bibliography.SPIKEPROP,
        data="iris",
        claim=Claim("accuracy", 0.961, "recalled from the paper's table, test set, another split", "M"),
        hidden=8,
        fields=6,
        beta=1.0,
        noise=0.05,
        error="margin",
        epochs=15,
        batch=16,
        optimiser="adam",
        minutes=1,
    )
