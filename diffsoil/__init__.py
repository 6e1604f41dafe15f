"""diffsoil: a differentiable soil column.

Soil organic carbon and the soil around it over millennia, with exact gradients of
everything the program computes with respect to everything it was told.
"""

from diffsoil import _runtime

_runtime.configure()
