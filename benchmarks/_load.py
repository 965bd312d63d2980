"""How busy other processes kept the cores while a run measured on them."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class Load:
    """Counts from its creation the processor time that others take.

    Args:
        processes: the process ids that are not others.
    """

    def __init__(self, processes: Sequence[int]):
        self._processes = processes
        self._began = time.perf_counter()
        self._taken = self._seconds_of_others()

    def of_others(self) -> float:
        """Returns the load of other processes on the cores of this one, in cores."""
        taken = self._seconds_of_others() - self._taken
        return max(taken, 0.0) / (time.perf_counter() - self._began)

    def _seconds_of_others(self) -> float:
        ours = sum(_process_ticks(process) for process in self._processes)
        cores = os.sched_getaffinity(0)
        return (sum(_busy_ticks(core) for core in cores) - ours) / _TICKS


def _busy_ticks(core: int) -> int:
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, steal, *_ = map(int, ticks)
            return user + nice + system + irq + softirq + steal
    raise RuntimeError(f"/proc/stat has no line for core {core}.")


def _process_ticks(process: int) -> int:
    # What follows the name, which may hold spaces, starts with field 3 of proc(5).
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[14 - 3], fields[15 - 3]
    return int(user) + int(system)
