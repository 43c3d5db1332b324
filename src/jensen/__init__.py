"""Jensen: approximate Bayesian inference by variational principles, with a certificate."""
