"""A run record becomes one HTML page that works offline; several become a comparison. Reads JSON, never torch."""

from spikeloom.report.compare import compare_rows, comparison, write_comparison
from spikeloom.report.page import page, write
from spikeloom.report.record import SCHEMA, read
from spikeloom.report.rows import markdown, over_seeds, shown, written

__all__ = [
    "SCHEMA", "compare_rows", "comparison", "markdown", "over_seeds", "page", "read", "shown", "write", "write_comparison",
    "written",
]  # fmt: skip
