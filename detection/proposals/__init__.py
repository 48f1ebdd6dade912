"""Step 1: about 2,000 class-agnostic boxes per image."""
