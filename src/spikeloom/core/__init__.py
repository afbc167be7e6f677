"""Errors, declared parameters, papers and the registry. Everything else stands on this; it imports only torch."""
