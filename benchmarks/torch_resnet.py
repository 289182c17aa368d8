"""drsearch's network in torch, layer for layer, for comparison."""

import torch
from torch import nn

from drsearch.settings import ModelSettings


class Block(nn.Module):
    """BN, ReLU, 3x3 stride 2, BN, ReLU, 3x3, added to a projection of the activated input."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = _normalisation(n_in), _normalisation(width)
        self.shortcut = nn.Conv2d(n_in, width, 1, stride=2, bias=False)
        self.conv1 = nn.Conv2d(n_in, width, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Half the resolution."""
        active = self.bn1(x).relu_()
        return self.conv2(self.bn2(self.conv1(active)).relu_()) + self.shortcut(active)


def build(settings: ModelSettings) -> nn.Module:
    """The network that `build_resnet` makes, without the softmax; of as many weights."""
    width = settings.width
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        _normalisation(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    n_in = width
    for stage in range(settings.stages):
        layers.append(Block(n_in, width * 2**stage))
        n_in = width * 2**stage
    layers += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, 2)]
    return nn.Sequential(*layers)


def _normalisation(n: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n, eps=1e-3, momentum=0.1)
