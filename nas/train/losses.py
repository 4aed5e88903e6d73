"""Logits and labels -> the loss that training minimises."""

import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy, in float32 whatever the logits are.

    logits: (images, classes). labels: (images,) int64. label_smoothing: the share of the target spread over all classes.
    """
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
