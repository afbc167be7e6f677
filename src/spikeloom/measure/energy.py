"""The field's energy estimate from operation counts (45 nm, 32-bit float, Horowitz): an estimate, not a measurement."""

from __future__ import annotations

from typing import Any

E_MAC_PJ = 4.6
E_AC_PJ = 0.9
FORMULA = (
    f"E = {E_MAC_PJ} pJ x MACs on analog input + {E_AC_PJ} pJ x ACs on spikes (a spike of level k is k ACs); "
    f"the same network with ReLU: {E_MAC_PJ} pJ x MACs of one dense pass"
)


def energy(rows: list[dict[str, Any]]) -> dict[str, float | str]:
    """Totals of `operations` rows per image: `synops_per_image` (ACs + analog MACs), `energy_uJ`, `ann_energy_uJ`, in microjoule."""
    acs, analog, macs = (sum(row[key] for row in rows) for key in ("acs", "analog_macs", "macs"))
    return {
        "synops_per_image": acs + analog,
        "energy_uJ": energy_of(acs, analog),
        "ann_energy_uJ": E_MAC_PJ * macs * 1e-6,
        "energy_formula": FORMULA,
    }


def energy_of(acs: Any, analog_macs: Any) -> Any:
    """Energy in microjoule of so many accumulates and multiply-accumulates; numbers or tensors."""
    return (E_MAC_PJ * analog_macs + E_AC_PJ * acs) * 1e-6
