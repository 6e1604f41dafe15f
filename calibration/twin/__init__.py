"""A fit kept up to date: new observations, and options of management."""
