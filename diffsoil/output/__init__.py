"""What a run gives: computed, checked, written and drawn."""
