"""The experiments that print a table and keep no run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.cell_path import CellPathSettings, run_cell_path
from experiments.channel_norm_depth import (
    ChannelNormDepthSettings,
    run_channel_norm_depth,
)
from experiments.coin_repeater import FlossingSettings
from experiments.deep_mlp import DeepMlpSettings, run_deep_mlp
from experiments.denoise_image import DenoiseImageSettings, run_denoise_image
from experiments.digit_codes import GradientFlowEncodingSettings
from experiments.distill_data import DistillDataSettings, run_distill_data
from experiments.domain_adaptation import (
    DomainAdaptationSettings,
    run_domain_adaptation,
)
from experiments.flossing import run_flossing
from experiments.gradient_flow_encoding import run_gradient_flow_encoding
from experiments.gru_dynamics import GruDynamicsSettings, run_gru_dynamics
from experiments.learn_initialization import (
    LearnInitializationSettings,
    run_learn_initialization,
)
from experiments.learn_penalties import run_learn_penalties
from experiments.learn_schedule import run_learn_schedule
from experiments.learned_schedule import LearnScheduleSettings
from experiments.limit_cycle import LimitCycleSettings, run_limit_cycle
from experiments.neumann_drift import NeumannDriftSettings, run_neumann_drift
from experiments.neural_optimization import run_neural_optimization
from experiments.pixel_penalties import LearnPenaltiesSettings
from experiments.proximal_descent import NeuralOptimizationSettings
from experiments.recursive_gratings import run_recursive_gratings
from experiments.recursive_net import RecursiveGratingsSettings
from experiments.shared_filters import run_shared_filters
from experiments.sharing_network import SharedFiltersSettings
from experiments.vhct import VhctSettings, run_vhct


@dataclass(frozen=True)
class Standalone:
    """An experiment by itself.

    Attributes:
        settings: those it has if none are given.
        run: runs it, of settings that have no problems, and prints what it finds.
        summary: what it shows, in a line.
        data: what it reads.
        duration: how long it takes on two cores.
        paper: where it comes from.
    """

    settings: Any
    run: Callable[[Any], Any]
    summary: str
    data: str
    duration: str
    paper: str


STANDALONE: dict[str, Standalone] = {
    "cell_path": Standalone(
        CellPathSettings(),
        run_cell_path,
        summary="what of an LSTM's gradient goes through its cells alone",
        data="-",
        duration="1 min",
        paper="Arpit et al. 2019",
    ),
    "channel_norm_depth": Standalone(
        ChannelNormDepthSettings(),
        run_channel_norm_depth,
        summary="gradients and training of deep chains, normalized and not",
        data="-",
        duration="2 min",
        paper="Dai & Heckel 2019",
    ),
    "deep_mlp": Standalone(
        DeepMlpSettings(),
        run_deep_mlp,
        summary="deep narrow networks, which train with the SVD alone",
        data="digits",
        duration="2 min",
        paper="Zhang et al. 2018",
    ),
    "denoise_image": Standalone(
        DenoiseImageSettings(),
        run_denoise_image,
        summary="a picture fitted by untrained decoders, normalized and not",
        data="scikit-image",
        duration="4 min",
        paper="Dai & Heckel 2019",
    ),
    "domain_adaptation": Standalone(
        DomainAdaptationSettings(),
        run_domain_adaptation,
        summary="foggy digits read without labels: gradients reversed and detached",
        data="digits, MNIST",
        duration="7 min",
        paper="Shen et al. 2019",
    ),
    "flossing": Standalone(
        FlossingSettings(),
        run_flossing,
        summary="how far back networks learn to look once their exponents are moved",
        data="generated",
        duration="8 min",
        paper="Engelken 2023",
    ),
    "distill_data": Standalone(
        DistillDataSettings(),
        run_distill_data,
        summary="ten images learned to teach what a thousand do",
        data="digits, MNIST",
        duration="1 min",
        paper="Maclaurin et al. 2015",
    ),
    "learn_initialization": Standalone(
        LearnInitializationSettings(),
        run_learn_initialization,
        summary="how large weights should be drawn, learned by reversal",
        data="digits, MNIST",
        duration="2 min",
        paper="Maclaurin et al. 2015",
    ),
    "learn_penalties": Standalone(
        LearnPenaltiesSettings(),
        run_learn_penalties,
        summary="an L2 penalty for each pixel of each digit",
        data="digits, MNIST",
        duration="1 min",
        paper="Maclaurin et al. 2015",
    ),
    "learn_schedule": Standalone(
        LearnScheduleSettings(),
        run_learn_schedule,
        summary="step sizes and momenta of every step, learned by reversal",
        data="digits, MNIST",
        duration="3 min",
        paper="Maclaurin et al. 2015",
    ),
    "gradient_flow_encoding": Standalone(
        GradientFlowEncodingSettings(),
        run_gradient_flow_encoding,
        summary="codes of few images by the gradient flow of a decoder alone",
        data="digits, MNIST",
        duration="3 min",
        paper="Flouris et al. 2021",
    ),
    "gru_dynamics": Standalone(
        GruDynamicsSettings(),
        run_gru_dynamics,
        summary="rest, cycles and a homoclinic loop of GRUs, and what they learn",
        data="generated",
        duration="6 min",
        paper="Jordan et al. 2021",
    ),
    "limit_cycle": Standalone(
        LimitCycleSettings(),
        run_limit_cycle,
        summary="gradients along limit cycles, and what networks learn from them",
        data="generated",
        duration="4 min",
        paper="Sokol et al. 2019",
    ),
    "neumann_drift": Standalone(
        NeumannDriftSettings(),
        run_neumann_drift,
        summary="loss of orthogonality under three rules for NC-GRU's series",
        data="-",
        duration="1 min",
        paper="Mucllari et al. 2024",
    ),
    "neural_optimization": Standalone(
        NeuralOptimizationSettings(),
        run_neural_optimization,
        summary="blocks whose steps descend, and noisy digits behind them",
        data="digits",
        duration="3 min",
        paper="Lyu & Tsang 2021",
    ),
    "recursive_gratings": Standalone(
        RecursiveGratingsSettings(),
        run_recursive_gratings,
        summary="the gradient of filters that recursions share, orthonormal and not",
        data="generated",
        duration="6 min",
        paper="Kang & Kim 2021",
    ),
    "shared_filters": Standalone(
        SharedFiltersSettings(),
        run_shared_filters,
        summary="residual networks whose convolutions share filters, and their size",
        data="CIFAR-10",
        duration="10 min",
        paper="Kang & Kim 2021",
    ),
    "vhct": Standalone(
        VhctSettings(),
        run_vhct,
        summary="regret of the bandit VHCT on the functions of its paper",
        data="-",
        duration="6 min",
        paper="Li et al. 2023",
    ),
}
