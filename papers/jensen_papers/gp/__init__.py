"""Papers on Gaussian processes."""
