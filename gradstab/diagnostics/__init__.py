"""What the gradients of a model do."""

from ._constraint_report import (
    Constraint as Constraint,
    constraint_report as constraint_report,
)
from ._depth_gradient_profile import (
    DepthProfile as DepthProfile,
    depth_gradient_profile as depth_gradient_profile,
)
from ._diagnose import diagnose as diagnose
from ._gradient_conflict import (
    GradientConflict as GradientConflict,
    gradient_conflict as gradient_conflict,
)
from ._gradient_norms import gradient_norms as gradient_norms
from ._jacobian_penalty import jacobian_penalty as jacobian_penalty
from ._jacobian_spectrum import (
    JacobianSpectrum as JacobianSpectrum,
    jacobian_spectrum as jacobian_spectrum,
)
from ._lyapunov_exponents import (
    LyapunovExponents as LyapunovExponents,
    lyapunov_exponents as lyapunov_exponents,
)
from ._lyapunov_penalty import lyapunov_penalty as lyapunov_penalty
from ._measure import Measurement as Measurement
from ._monitor import Monitor as Monitor, MonitorState as MonitorState
from ._reach import Reach as Reach, reach as reach
from ._recurrence_measurement import (
    Gate as Gate,
    RecurrenceMeasurement as RecurrenceMeasurement,
)
from ._report import Report as Report
from ._verdict import Verdict as Verdict
