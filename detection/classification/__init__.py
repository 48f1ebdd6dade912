"""SPPnet the classifier: training on whole images, and testing (SPP §3)."""
