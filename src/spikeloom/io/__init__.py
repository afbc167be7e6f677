"""Files in and out: weights. Exchange formats follow."""
