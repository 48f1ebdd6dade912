"""Photographs and their annotations."""
