import dataclasses
import math

from experiments.limits import Limited


@dataclasses.dataclass
class Settings(Limited):
    steps: float = 1
    rate: float = 0.1
    momentum: float = 0.0
    seeds: tuple[int, ...] = (0,)

    def problems(self):
        found = self.below(1, "steps") + self.not_positive("rate")
        found += self.not_momenta("momentum") + self.not_seeds("seeds")
        return found + self.outside(-1, {"momentum": 2})


def test_what_is_out_of_bounds_is_named():
    assert Settings().problems() == []
    bad = Settings(steps=0, rate=0.0, momentum=3.0, seeds=())
    assert bad.problems() == [
        "--steps must be at least 1, got 0.",
        "--rate must be positive, got 0.0.",
        "--momentum must be in [0, 1), got 3.0.",
        "--seeds must be at least one, none negative.",
        "--momentum must lie between -1 and 2, got 3.0.",
    ]
    assert len(Settings(seeds=(1, -1)).problems()) == 1


def test_nan_is_out_of_all_bounds():
    assert len(Settings(math.nan, math.nan, math.nan).problems()) == 4
