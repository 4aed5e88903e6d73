"""conf/prune.yaml -> a network of fewer channels that was cut under a quota, and what that costs in error, in one folder."""

from pathlib import Path
from typing import Any

from entry import script
from msgspec import to_builtins
from networks import described_network, narrowed_arch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

import models
from nas.core.config import from_config
from nas.core.seeding import stream_seed
from nas.cost.simulated import SimulatedCost
from nas.data.load import load_data
from nas.data.source import DataConfig
from nas.hw.load import processor_from
from nas.quota.training.config import QuotaConfig
from nas.report.quotas.quota_picture import show_quota
from nas.report.quotas.quota_table import print_quota_table
from nas.report.tensorboard import TensorBoardObserver
from nas.report.terminal import LOADING, TerminalObserver
from nas.search.pruning.pruning import PruneConfig, prune
from nas.train.config import TrainConfig
from nas.train.machine.device import device_of
from nas.train.observer import Observers
from nas.train.run import describe


@script("prune", "Cut the channels of one network under a quota that adjusts itself.")
def main(config: DictConfig) -> None:
    """Train, train under the quota, cut, train on; show the table."""
    folder, console = Path(config.folder), Console()
    quota = from_config(config.quota, QuotaConfig, "quota")
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    trainers = [
        from_config({**plain["trainer"], **plain.get(name, {}), "augment": plain["data"]["augment"]}, TrainConfig, name)
        for name in ("whole_trainer", "quota_trainer", "fine_trainer")
    ]
    plan = PruneConfig(quota, *trainers, start=config.start, distil=config.distil)
    with console.status(LOADING):
        data = load_data(from_config(config.data, DataConfig, "data"), device_of(trainers[0].device))
    image = {"in_channels": data.channels, "classes": data.classes, "image_size_px": data.size_px}
    network = described_network(config, image, stream_seed(trainers[0].seed, "weights"))
    processor = processor_from(config.hardware, "hardware")
    for place in (folder, *([] if config.start else [folder / "whole"])):
        describe(place / "arch.json", models.arch_to_json(network.arch))
    with TerminalObserver(console) as terminal, TensorBoardObserver(folder / "tensorboard") as board:
        simulated, watching = SimulatedCost(processor), Observers(terminal, board)
        _, result = prune(network, data, plan, simulated, folder, watching, to_builtins(processor))
    show_quota(folder, result)
    narrowed_arch(network.arch, result.channels, folder / "slim")
    for layer, reason in result.kept.items():
        console.print(f"kept whole: {layer}, {reason}", highlight=False)
    print_quota_table(result, processor.name, console)
    console.print(
        f"in {folder}: result.json, quota.png, slim/ (arch or slim.json, model.safetensors), tensorboard/",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
