"""The study of van der Meij & Finke (2026), repeated."""
