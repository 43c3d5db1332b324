"""Papers on variational inference."""
