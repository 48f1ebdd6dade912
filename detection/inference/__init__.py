"""Trained detectors at work: on a data set, and on anybody's images."""
