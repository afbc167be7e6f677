"""The SNN shell, encoders, norms, blocks and losses."""
