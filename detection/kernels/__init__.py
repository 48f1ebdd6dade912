"""Compiled loops and the memory and threads that they use; the method lies above."""
