"""Families q: what posteriors are approximated by."""

from jensen.families.gaussian import DiagonalGaussian, Gaussian, gaussian_from_cov, kl_gaussian

__all__ = ["DiagonalGaussian", "Gaussian", "gaussian_from_cov", "kl_gaussian"]
