"""Distributions of measurement errors: one file and one line here for each."""

from calibration.noise.distribution import Noise
from calibration.noise.lognormal import Lognormal
from calibration.noise.normal import Normal
from calibration.noise.ornstein_uhlenbeck import OrnsteinUhlenbeck, memory_parameter
from calibration.noise.student_t import StudentT
from diffsoil.registry import Registry

__all__ = [
    "NOISE",
    "Lognormal",
    "Noise",
    "Normal",
    "OrnsteinUhlenbeck",
    "StudentT",
    "memory_parameter",
]

NOISE: Registry[type[Noise]] = Registry(
    "distribution of errors",
    {noise.name: noise for noise in (Normal, Lognormal, StudentT)},
    "calibration.noise",
    Noise,
)
"""By the name that a case gives as ``distribution``."""
