"""Methods of inference: the mode, approximations of the posterior, and samplers."""
