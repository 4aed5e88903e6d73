"""A trained network and images -> a loss that teaches another one (G. Hinton et al., arXiv 1503.02531).

    loss = (1 - share) * cross entropy(labels) + share * T^2 * KL(softmax(teacher / T) || softmax(student / T))

The factor T^2 keeps the gradients of both parts of one size, whatever the temperature T. The teacher sees the very images
that the student sees, augmented as they are.
"""

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError


@dataclass(frozen=True)
class DistillationConfig:
    """temperature: softens both distributions. share: of the teacher's part in the loss, 0 to 1."""

    temperature: float = 4.0
    share: float = 0.7

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError("distillation", "temperature", "a number above 0", self.temperature)
        if not 0 <= self.share <= 1:
            raise InputError("distillation", "share", "0 to 1", self.share)


class Teacher:
    """A network that is not trained any more, and how much it is listened to."""

    def __init__(self, network: nn.Module, config: DistillationConfig | None = None) -> None:
        self.network = network.eval().requires_grad_(False)
        self.config = config or DistillationConfig()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """What the teacher says of these images."""
        taught: Tensor = self.network(images)
        return taught

    def mixed(self, loss: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """A student's `loss` by the labels, and by what the teacher says; logits: (images, classes), both."""
        if taught.shape != logits.shape:
            raise InputError("teacher", "logits", f"shape {tuple(logits.shape)}", tuple(taught.shape))
        return torch.lerp(loss, distillation_loss(logits, taught, self.config.temperature), self.config.share)

    def identity(self) -> str:
        """A digest of its weights and of its configuration: the same teacher, the same text."""
        digest = hashlib.sha256(f"{self.network}{self.config}".encode())
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean over the images of KL(teacher || student), both softened by T; float32."""
    student = F.log_softmax(logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
