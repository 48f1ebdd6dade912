"""Step 2: the conv layers, and the weights that they need."""
