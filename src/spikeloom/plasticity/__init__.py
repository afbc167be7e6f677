"""Spike-timing-dependent plasticity: rules as pure functions, and the networks that learn by them."""
