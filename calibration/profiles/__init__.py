"""Many profiles in one hierarchical model."""
