"""Spike times as values: functions and layers from times `[B, in]` to times `[B, out]`; infinity: no spike."""
