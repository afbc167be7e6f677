"""From a frozen Run to a folder with weights and a record. Lightning is imported only when a run starts."""

from spikeloom.train.run import Claim, Data, Network, Run, Training, build, options, override

__all__ = ["Claim", "Data", "Network", "Run", "Training", "build", "options", "override"]
