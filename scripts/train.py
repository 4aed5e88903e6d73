"""conf/train.yaml -> a trained network, its test error and its curves, in one folder."""

from contextlib import ExitStack
from pathlib import Path

from entry import script
from networks import described_network, trained_network
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

import models
from nas.core.config import from_config
from nas.core.seeding import stream_seed
from nas.data.load import load_data
from nas.data.source import DataConfig
from nas.report.tensorboard import TensorBoardObserver
from nas.report.terminal import LOADING, TerminalObserver
from nas.train.config import TrainConfig
from nas.train.machine.device import device_of
from nas.train.machine.distributed import processes
from nas.train.observer import Observers
from nas.train.options import Options
from nas.train.recipe.distillation import DistillationConfig, Teacher
from nas.train.run import describe, train_and_test
from nas.train.state.transfer import begin


@script("train", "Train one network and test it; `torchrun --nproc-per-node 2 scripts/train.py ...` in two processes.")
def main(config: DictConfig) -> None:
    """Train, test, and say where things lie."""
    folder = Path(config.folder)
    data_config = from_config(config.data, DataConfig, "data")
    trainer = from_config(OmegaConf.merge({"augment": config.data.augment}, config.trainer), TrainConfig, "trainer")
    with ExitStack() as open_until_the_end:
        group = open_until_the_end.enter_context(processes(trainer.device))
        console = Console(quiet=not group.is_first)
        with console.status(LOADING):
            data = load_data(data_config, device_of(trainer.device))
        image = {"in_channels": data.channels, "classes": data.classes, "image_size_px": data.size_px}
        model = described_network(config, image, stream_seed(trainer.seed, "weights"))
        teacher = None
        if config.teacher:
            settings = from_config(config.distillation, DistillationConfig, "distillation")
            teacher = Teacher(trained_network(Path(config.teacher), image), settings)
        observers = []
        if group.is_first:  # it alone writes, and the others get its weights
            if transferred := begin(model, config.start_from and Path(config.start_from), folder):
                console.print(f"start_from: {transferred}; by name in start_from.json", highlight=False)
            describe(folder / "arch.json", models.arch_to_json(model.arch))
            watching = TerminalObserver(console), TensorBoardObserver(folder / "tensorboard")
            observers = [open_until_the_end.enter_context(observer) for observer in watching]
        options = Options(observer=Observers(*observers), teacher=teacher)
        result = train_and_test(model, data, trainer, folder, options)
    took = f"{'' if result.train.images_per_s else 'trained already, in '}{result.train.seconds:.0f} s"
    console.print(f"test error {result.test}, {took}", style="bold", highlight=False, soft_wrap=True)
    console.print(
        f"in {folder}: result.json, arch.json, model.safetensors, checkpoint.json, tensorboard/", soft_wrap=True
    )


if __name__ == "__main__":
    main()
