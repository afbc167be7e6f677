"""Spike times as values: layers map times `[B, in]` to times `[B, out]`, infinity for no spike, with exact gradients and no time grid."""
