import torch.nn.functional as F
from torch import Tensor

from spikeloom.core import bibliography

paper = bibliography.TET


def tet(outputs: Tensor, labels: Tensor, weight: float = 0.05, target: float = 1.0) -> Tensor:
    """TET: (1 - weight) * mean over t of CE(O_t, y) + weight * MSE(O_t, target).

    outputs `[T, B, classes]`, labels `[B]`; a scalar. At T = 1 and weight 0 it is cross-entropy; never below the
    cross-entropy of the mean (Jensen). The authors' repository uses weight 1e-3 on event data.
    """
    steps = outputs.shape[0]
    entropy = F.cross_entropy(outputs.flatten(0, 1), labels.repeat(steps))
    return (1 - weight) * entropy + weight * (outputs - target).square().mean()
