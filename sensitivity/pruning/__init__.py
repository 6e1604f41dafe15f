"""The smallest column that still answers a question."""
