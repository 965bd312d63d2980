"""Flax NNX modules: parametrizations, cells and the sequence layer."""

from ._cayley import Cayley as Cayley, ScaledCayley as ScaledCayley
from ._channel_norm import ChannelNorm as ChannelNorm
from ._constrain import constrain as constrain
from ._conv import Conv as Conv
from ._conv_kernel import (
    ConvKernel as ConvKernel,
    MatrixConvKernel as MatrixConvKernel,
)
from ._deep_decoder import DeepDecoder as DeepDecoder
from ._domain_losses import (
    cross_entropy_domain_loss as cross_entropy_domain_loss,
    focal_domain_loss as focal_domain_loss,
    least_squares_domain_loss as least_squares_domain_loss,
)
from ._eigenvalue_normalized import EigenvalueNormalized as EigenvalueNormalized
from ._enrnn import ENRNNCell as ENRNNCell
from ._exponential import Exponential as Exponential
from ._export import export as export
from ._functional_kernel import functional_kernel as functional_kernel
from ._gated_cell import GatedCell as GatedCell
from ._gru import GRUCell as GRUCell
from ._h_detach import HDetachLSTMCell as HDetachLSTMCell
from ._householder import Householder as Householder
from ._limit_cycle_cell import LimitCycleCell as LimitCycleCell
from ._limit_cycle_init import limit_cycle_init as limit_cycle_init
from ._linear import Linear as Linear
from ._load_torch import load_torch as load_torch
from ._lstm import LSTMCell as LSTMCell
from ._mask import unconstrained_mask as unconstrained_mask
from ._materialize import materialize as materialize
from ._matmul_cell import MatmulCell as MatmulCell
from ._modrelu import modrelu as modrelu
from ._nc_gru import NCGRUCell as NCGRUCell
from ._neumann_cayley import NeumannCayley as NeumannCayley
from ._orthogonal_cell import OrthogonalCell as OrthogonalCell
from ._orthogonal_conv_kernel import OrthogonalConvKernel as OrthogonalConvKernel
from ._parametrization import (
    Fixed as Fixed,
    Materialized as Materialized,
    Parametrization as Parametrization,
)
from ._per_gate import per_gate as per_gate
from ._per_gate_orthogonal import per_gate_orthogonal as per_gate_orthogonal
from ._proximal_block import ProximalBlock as ProximalBlock
from ._proximal_maps import (
    HardThreshold as HardThreshold,
    ProximalMap as ProximalMap,
    ReLU as ReLU,
    ShiftedReLU as ShiftedReLU,
    SoftThreshold as SoftThreshold,
)
from ._recurrent_cell import RecurrentCell as RecurrentCell
from ._recursive_block import RecursiveBlock as RecursiveBlock
from ._refresh import refresh as refresh
from ._rnn import RNN as RNN
from ._sbo_rnn import SBORNNCell as SBORNNCell
from ._shared_basis_conv import SharedBasisConv as SharedBasisConv
from ._spectral_clipped import SpectralClipped as SpectralClipped
from ._spectral_gru import SpectralGRUCell as SpectralGRUCell
from ._spectral_normalized import SpectralNormalized as SpectralNormalized
from ._spectral_rnn import SpectralRNNCell as SpectralRNNCell
from ._stacked_complementary_losses import (
    Complement as Complement,
    StackedComplementaryLosses as StackedComplementaryLosses,
)
from ._svd import SVD as SVD
from ._torus_init import torus_init as torus_init
from ._unconstrained import Unconstrained as Unconstrained
