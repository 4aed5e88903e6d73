"""conf/compare_pruning.yaml -> records of pruning methods at several operating points, their table, and a page about all of them.

It stops and goes on at any time: a record that is in the folder is not made again.
"""

from pathlib import Path
from typing import Any

from entry import script
from hydra.core.hydra_config import HydraConfig
from msgspec import to_builtins
from networks import described_network
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch_pruning_methods import register

import models
from nas.core.artifact import write_bytes
from nas.core.config import from_config
from nas.core.errors import Violation
from nas.core.machine import this_machine
from nas.core.seeding import stream_seed
from nas.cost.simulated import SimulatedCost
from nas.data.load import load_data
from nas.data.source import DataConfig
from nas.hw.load import processor_from
from nas.report.pages.comparison import PLACES, Budget, Comparison, write_comparison
from nas.report.pages.comparison_page import comparison_page
from nas.report.pages.comparison_picture import save_comparison_picture
from nas.report.pages.comparison_table import comparison_table
from nas.report.terminal import LOADING
from nas.search.pruning.prune_compare import Contest, PruneRecord, compare
from nas.train.machine.device import device_of
from nas.train.run import describe


@script("compare_pruning", "Compare ways to a network of the same price.")
def main(config: DictConfig) -> None:
    """Run what is missing, show the table."""
    register()
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    trainer = {**plain["trainer"], "augment": plain["data"]["augment"]}
    chosen = {name: plain[name] for name in ("points", "methods", "seeds", "quota", "missing")}
    chosen |= {"trainer": trainer, "method_trainer": {**trainer, **plain["method_trainer"]}}
    contest = from_config(chosen, Contest, "comparison")
    contest = contest if plain["at"] is None else contest.at(plain["at"])
    console = Console()
    if not console.is_terminal:
        console.width = 160
    with console.status(LOADING):
        data = load_data(from_config(plain["data"], DataConfig, "data"), device_of(contest.trainer.device))
    image = {"in_channels": data.channels, "classes": data.classes, "image_size_px": data.size_px}
    processor = processor_from(config.hardware, "hardware")
    folder = Path(config.folder)
    describe(folder / "arch.json", models.arch_to_json(described_network(config, image, 0).arch))

    status = console.status("")

    def told(record: PruneRecord | Violation | str) -> None:
        if isinstance(record, str) and console.is_terminal:
            status.update(record)
            return
        if isinstance(record, Violation | str):
            console.print(str(record), highlight=False)
            return
        widths = " ".join(map(str, record.widths))
        console.print(
            f"{record.seed} {record.point} {record.method}: {record.error.rate:.2%}  {widths}", highlight=False
        )

    def build(seed: int) -> Any:
        return described_network(config, image, stream_seed(seed, "weights"))

    with status:
        records = compare(contest, build, data, SimulatedCost(processor), folder, told, to_builtins(processor))
    console.print(comparison_table(records))
    ran = {record.point for record in records}
    if not ran - {""}:
        return
    points = tuple(point for point in contest.points if point.name in ran)
    budget = Budget(
        source=data.name,
        training_images=len(data.train),
        test_images=len(data.test),
        test_split=plain["data"]["test_split"],
        whole_epochs=contest.trainer.epochs,
        epochs=contest.method_trainer.epochs,
        batch_size=contest.method_trainer.batch_size,
        learning_rate=contest.method_trainer.learning_rate,
    )
    words = (word for word in HydraConfig.get().overrides.task if word.lstrip("+~").partition("=")[0] not in PLACES)
    comparison = Comparison(this_machine(), budget, points, tuple(records), tuple(words))
    page = Path(config.page)
    write_comparison(page.with_suffix(".json"), comparison)
    save_comparison_picture(page.with_suffix(".png"), comparison)
    write_bytes(page, comparison_page(comparison, page.with_suffix(".png").name).encode())
    console.print(f"{page}, with its record and picture", soft_wrap=True)


if __name__ == "__main__":
    main()
