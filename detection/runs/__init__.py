"""What every stage needs around it: safe files, tensors on disk, progress, workers, devices."""
