import torch.nn.functional as F
from torch import Tensor

from spikeloom.core import bibliography

paper = bibliography.STBP


def rate_mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error between the mean output over time and the one-hot label (STBP's released form: mean over B and classes).

    outputs `[T, B, classes]`, labels `[B]`; a scalar. The paper's 1/(2S) sum over classes is this times classes/2.
    """
    rate = outputs.mean(0)
    return F.mse_loss(rate, F.one_hot(labels, rate.shape[1]).to(rate.dtype))
