"""Step 4: fc layers, feature normalisation, linear SVMs and bounding-box regressors."""
