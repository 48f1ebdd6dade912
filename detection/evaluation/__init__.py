"""Step 6: how good the detections are."""
