"""Derivatives, global indices, driver analysis and pruning."""
