"""A network and a few numbers -> its optimiser."""

from typing import Literal

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

OptimizerName = Literal["adamw", "sgd"]


def build_optimizer(
    model: nn.Module, name: OptimizerName, learning_rate: float, weight_decay: float, momentum: float = 0.9
) -> Optimizer:
    """AdamW, or SGD with Nesterov `momentum`; weight decay is for kernels and matrices only, not for norms and biases."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    # Fused: one kernel for all parameters instead of several for each; small networks have many small parameters.
    if name == "adamw":
        return AdamW(groups, lr=learning_rate, fused=True)
    return SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """The rate of the coming steps, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Its state, flat: "<parameter number>/<name>" -> tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """What `optimizer_tensors` gave, back into an optimiser of the same network."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        parameter = parameters[int(index)]
        # Files are contiguous; a fused kernel wants the strides of the parameter, which may be channels-last.
        same_shape = value.shape == parameter.shape and value.dim() > 0
        state.setdefault(int(index), {})[name] = torch.empty_like(parameter).copy_(value) if same_shape else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
