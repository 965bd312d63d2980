"""The networks of Kang & Kim, with and without shared bases of filters."""

from .counts import (
    PUBLISHED as PUBLISHED,
    Published as Published,
    count_parameters as count_parameters,
)
from .densenet import DenseNet as DenseNet
from .mobilenet import MobileNetV2 as MobileNetV2
from .resnet import ResNet as ResNet
