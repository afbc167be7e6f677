"""Benchmarks of neurons, layers and networks against a plain copy and against other libraries. No speed without a green gate."""
