"""Experiments that are not one fit, one file each: a frozen dataclass over `spikeloom.train.experiment.Experiment`."""
