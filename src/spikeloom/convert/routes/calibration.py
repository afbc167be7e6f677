from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def calibration() -> Route:
    """Thresholds of least squared error for T steps, then biases and initial potentials corrected layer by layer."""
    return Route(
        "SNN calibration, Li et al. 2021", bibliography.CALIBRATION, "MMSE", scale={"start": 0.5}, unit={"reset": "subtract", "start": 0.5},
        corrections=("bias", "potential"),
    )  # fmt: skip
