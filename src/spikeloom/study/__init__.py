"""A conversion measured: one trained network, one method, one data set, one record."""

from spikeloom.study.inputs import CALIBRATED, Prepare, Ready, calibration_inputs, ready
from spikeloom.study.measured import answer, read_options, study, written
from spikeloom.study.subjects import Subject, subject

__all__ = [
    "CALIBRATED", "Prepare", "Ready", "Subject", "answer", "calibration_inputs", "read_options", "ready", "study", "subject", "written",
]  # fmt: skip
