"""Selective search in numba."""
