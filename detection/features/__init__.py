"""Step 3: one vector per box, the only step in which R-CNN and SPPnet differ."""
