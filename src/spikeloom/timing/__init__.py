"""Spike times as values: functions and layers from times `[B, in]` to times `[B, out]`; infinity: no spike."""

from spikeloom.timing.base import TimingLayer
from spikeloom.timing.first_spike_clusters import first_spike_update, learning_window
from spikeloom.timing.layers import RelPSPConv2d, RelPSPLinear
from spikeloom.timing.pool import FirstSpikePool2d
from spikeloom.timing.readout import FirstSpikeReadout
from spikeloom.timing.receptive_fields import population_times
from spikeloom.timing.relpsp import relpsp_conv2d_times, relpsp_times
from spikeloom.timing.srm import SRMConv2d, SRMLinear, srm_conv2d_times, srm_potential, srm_times
from spikeloom.timing.temporal_sigmoid import temporal_sigmoid
from spikeloom.timing.windowed import WindowedConv2d, WindowedLinear, windowed_membrane, windowed_times

__all__ = [
    "FirstSpikePool2d", "FirstSpikeReadout", "RelPSPConv2d", "RelPSPLinear", "SRMConv2d", "SRMLinear", "TimingLayer", "WindowedConv2d",
    "WindowedLinear", "first_spike_update", "learning_window", "population_times", "relpsp_conv2d_times", "relpsp_times",
    "srm_conv2d_times", "srm_potential", "srm_times", "temporal_sigmoid", "windowed_membrane", "windowed_times",
]  # fmt: skip
