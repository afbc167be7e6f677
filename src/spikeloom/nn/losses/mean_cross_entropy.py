import torch.nn.functional as F
from torch import Tensor

from spikeloom.core import bibliography

paper = bibliography.MLF


def mean_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the outputs' mean over time. outputs `[T, B, classes]`, labels `[B]`; a scalar."""
    return F.cross_entropy(outputs.mean(0), labels)
