"""Applications on top of the model, calibration and sensitivity: whole studies."""
