"""Spike times as values: functions and layers from times `[B, in]` to times `[B, out]`; infinity: no spike."""

from spikeloom.timing.base import TimingLayer
from spikeloom.timing.layers import RelPSPConv2d, RelPSPLinear
from spikeloom.timing.pool import FirstSpikePool2d
from spikeloom.timing.readout import FirstSpikeReadout
from spikeloom.timing.relpsp import relpsp_conv2d_times, relpsp_times
from spikeloom.timing.windowed import WindowedConv2d, WindowedLinear, windowed_membrane, windowed_times

__all__ = [
    "FirstSpikePool2d", "FirstSpikeReadout", "RelPSPConv2d", "RelPSPLinear", "TimingLayer", "WindowedConv2d", "WindowedLinear",
    "relpsp_conv2d_times", "relpsp_times", "windowed_membrane", "windowed_times",
]  # fmt: skip
