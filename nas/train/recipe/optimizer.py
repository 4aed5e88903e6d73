"""A network and a few numbers -> its optimiser."""

from typing import Literal

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

OptimizerName = Literal["adamw", "sgd"]
# What an optimiser keeps of a parameter, and whether it has the parameter's shape or is a single number.
_ADAMW, _SGD = {"step": False, "exp_avg": True, "exp_avg_sq": True}, {"momentum_buffer": True}


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
    """What `optimizer_tensors` gave, back into an optimiser of the same network; ValueError for what it can't have given."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = _ADAMW if isinstance(optimizer, AdamW) else _SGD
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        if not index.isdecimal() or int(index) >= len(parameters) or name not in names:
            raise ValueError(f"{key}: expected {' or '.join(names)} of one of {len(parameters)} parameters")
        parameter = parameters[int(index)]
        shape = parameter.shape if names[name] else torch.Size()
        if value.shape != shape:
            raise ValueError(f"{key}: expected the shape {tuple(shape)}, got {tuple(value.shape)}")
        # Files are contiguous; a fused kernel wants the strides of the parameter, which may be channels-last.
        state.setdefault(int(index), {})[name] = torch.empty_like(parameter).copy_(value) if value.dim() > 0 else value
    for number, values in state.items():
        if len(values) < len(names):
            raise ValueError(f"{number}: expected {', '.join(names)}, got {', '.join(values)} alone")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
