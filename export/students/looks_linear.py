"""Where the MLPs over bags of words begin: as linear maps, in spite of their ReLUs.

Since relu(y) - relu(-y) = y, layers of mirrored weights pass y on as W y, whatever its sign
(Balduzzi et al., ICML 2017, "The Shattered Gradients Problem", section 4: "looks-linear"):

    y = W x  as  relu([W ; -W] x),  then  [W' , -W'] relu([W ; -W] x) = W' W x

In PyTorch's own random layers a bag's embedding fades against their biases: after five of them all
texts have the same direction (cosines of 0.9997 and more), and it takes millions of pairs to find
out that two texts with the same words are alike. So begun, an MLP says so before its first step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MIRRORED = (1, -1)


def random_map(out: int, width: int) -> Tensor:
    """A random linear map with orthogonal rows or columns, float32 [out, width].

    It keeps lengths and angles, in the mean where `out` < `width`, the better the larger `out` is
    (Johnson and Lindenstrauss, 1984).
    """
    map_ = torch.empty(out, width)
    nn.init.orthogonal_(map_, gain=max(1.0, width / max(out, 1)) ** 0.5)
    return map_


@torch.no_grad()
def begin_linear(
    layer: nn.Linear, map_: Tensor, *, given: Sequence[int] = MIRRORED, mirrored: bool = True
) -> None:
    """Writes y = `map_` x, with `map_` [out, width], into a layer.

    Its input holds `width` values for each sign of `given`, and x is their sum by these signs: of
    MIRRORED ones relu(x) and relu(-x). `mirrored`: its own output is [y ; -y], for the ReLU behind
    it. Units beyond these keep their random weights; biases are 0.
    """
    block = torch.cat([sign * map_ for sign in given], dim=1)
    if mirrored:
        block = torch.cat([block, -block])
    layer.weight[: block.shape[0], : block.shape[1]] = block
    nn.init.zeros_(layer.bias)
