"""conf/train.yaml -> a trained network, its test error and its curves, in one folder."""

from pathlib import Path

from entry import input_of, script
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

import models
from nas.core.config import from_config
from nas.core.seeding import stream_seed
from nas.data.load import load_data
from nas.data.source import DataConfig
from nas.report.tensorboard import TensorBoardObserver
from nas.report.terminal import TerminalObserver
from nas.train.config import TrainConfig
from nas.train.device import device_of
from nas.train.observer import Observers
from nas.train.run import describe, train_and_test


@script("train", "Train one network and test it.")
def main(config: DictConfig) -> None:
    """Train, test, and say where things lie."""
    folder, console = Path(config.folder), Console()
    data_config = from_config(config.data, DataConfig, "data")
    trainer = from_config({**config.trainer, "augment": config.data.augment}, TrainConfig, "trainer")
    data = load_data(data_config, device_of(trainer.device))
    image = {"in_channels": data.channels, "classes": data.classes, "image_size_px": data.size_px}
    with input_of(f"arch_file={config.arch_file}" if config.arch_file else "model"):
        if config.arch_file:
            arch = models.arch_from_json(Path(config.arch_file).read_bytes())
        else:
            arch = models.arch_from(OmegaConf.to_container(config.model, resolve=True))
        arch = models.fitted(arch, **image)
        model = models.build(arch, stream_seed(trainer.seed, "weights"))
    describe(folder / "arch.json", models.arch_to_json(arch))
    with TerminalObserver(console) as terminal, TensorBoardObserver(folder / "tensorboard") as board:
        result = train_and_test(model, data, trainer, folder, Observers(terminal, board))
    console.print(f"test error {result.test}, {result.train.seconds:.0f} s", style="bold", highlight=False)
    console.print(
        f"in {folder}: result.json, arch.json, model.safetensors, checkpoint.json, tensorboard/", soft_wrap=True
    )


if __name__ == "__main__":
    main()
