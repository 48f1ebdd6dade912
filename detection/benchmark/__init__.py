"""Seconds a stage, R-CNN against SPPnet."""
