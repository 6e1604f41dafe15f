"""From observations to a posterior: likelihoods, best fit, sampling, prediction, checks."""

from calibration.problem import Problem
from calibration.twin.assimilation import assimilate_case as assimilate
from calibration.workflow import calibrate_case as fit
from calibration.workflow import predict_case as predict

__all__ = ["Problem", "assimilate", "fit", "predict"]
