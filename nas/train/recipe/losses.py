"""Logits and what a batch shows -> the loss that training minimises."""

import torch.nn.functional as F
from torch import Tensor

from nas.train.recipe.mixing import Target


def classification_loss(logits: Tensor, target: Target, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy, in float32 whatever the logits are.

    logits: (images, classes). label_smoothing: the share of the target spread over all classes. A mixed image has both
    its labels, by their shares: the cross entropy is linear in its target, so it is that of the soft label.
    """
    logits = logits.float()
    loss = F.cross_entropy(logits, target.labels, label_smoothing=label_smoothing)
    if target.partners is None:
        return loss
    other = F.cross_entropy(logits, target.partners, label_smoothing=label_smoothing)
    return target.share * loss + (1.0 - target.share) * other
