"""Continuous time: codes that flow down a loss."""

from ._descent import Descended as Descended, Descent as Descent
from ._gradient_flow_encoder import (
    Encoding as Encoding,
    GradientFlowEncoder as GradientFlowEncoder,
)
from ._gradient_flows import GradientFlow as GradientFlow, NesterovFlow as NesterovFlow
from ._minimize_distance import MinimizeDistance as MinimizeDistance
