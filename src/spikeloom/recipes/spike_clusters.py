from spikeloom.core import bibliography
from spikeloom.experiments.clusters import Clusters


def spike_clusters() -> Clusters:
    """Gaussian clusters and Iris, found without labels by delays and first spikes; the window is that of Natschläger and Ruf."""
    return Clusters(recipe="spike-clusters", title="Clusters by first spikes", paper=bibliography.SPIKE_CLUSTERS, minutes=2)
