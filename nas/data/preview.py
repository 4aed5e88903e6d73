"""A source -> a contact sheet as PNG: `python -m nas.data.preview sheet.png --source fashion_mnist`."""

import argparse
import math
import sys
from pathlib import Path

from torchvision.utils import make_grid, save_image

from nas.core.artifact import write_with
from nas.core.errors import InputError
from nas.data.load import SOURCES
from nas.data.source import DataConfig


def write_sheet(path: Path, config: DataConfig, split: str, images: int) -> None:
    """Write the first `images` images of `split` in as square a grid as they make."""
    pictures = SOURCES[config.source](config).load(split, images).images
    grid = make_grid(pictures.float() / 255.0, nrow=math.ceil(math.sqrt(images)), padding=1)
    write_with(path, lambda temporary: save_image(grid, temporary))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Write a contact sheet of a data source.")
    parser.add_argument("path", type=Path, help="the PNG to write")
    parser.add_argument("--source", default="street_digits", choices=list(SOURCES))
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=196)
    parser.add_argument("--seed", type=int, default=0, help="of a source that generates its images")
    arguments = parser.parse_args()
    config = DataConfig(source=arguments.source, seed=arguments.seed)
    try:
        write_sheet(arguments.path, config, arguments.split, arguments.images)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
