"""Plasticity by spike timing: rules as pure functions, and the network of Diehl and Cook."""
