"""How the detectors learn."""
