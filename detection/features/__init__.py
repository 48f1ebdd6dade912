"""Step 3: one vector a box, the only step in which R-CNN and SPPnet differ."""
