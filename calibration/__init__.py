"""Observations to posterior: likelihoods, fits, prediction and checks."""
