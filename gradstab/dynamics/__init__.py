"""Continuous time: codes that flow down a loss, networks that flow, their portraits."""

from ._adjoint_trace import AdjointTrace as AdjointTrace, adjoint_trace as adjoint_trace
from ._descent import Descended as Descended, Descent as Descent
from ._fixed_points import FixedPoint as FixedPoint, fixed_points as fixed_points
from ._floquet import floquet_multipliers as floquet_multipliers
from ._gradient_flow_encoder import (
    Encoding as Encoding,
    GradientFlowEncoder as GradientFlowEncoder,
)
from ._gradient_flows import GradientFlow as GradientFlow, NesterovFlow as NesterovFlow
from ._grid_points import grid_points as grid_points
from ._gru_ode import GRUODECell as GRUODECell
from ._integrators import (
    Euler as Euler,
    Integrator as Integrator,
    RungeKutta as RungeKutta,
    Tsitouras as Tsitouras,
)
from ._minimize_distance import MinimizeDistance as MinimizeDistance
from ._nullclines import nullclines as nullclines
from ._periodic_orbit import (
    PeriodicOrbit as PeriodicOrbit,
    periodic_orbit as periodic_orbit,
)
from ._phase_portrait import phase_portrait as phase_portrait
from ._time_step import time_step as time_step
