"""Papers on variational autoencoders."""
