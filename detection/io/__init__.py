"""Files, tensors on disk, processes, devices and progress: nothing of the method."""
