"""Numerical pieces that know nothing of soil."""
