"""What a module is compiled for: the shape of its input, or one for each argument of its forward.

Shapes are as simple as the module: (1, 3, 32, 32), or ((1, 3, 32, 32), (1, 5)) in the order of the arguments, as a call
would give them; who takes both makes `shapes_of` them. Programs know the tensors by the arguments' names.
"""

from collections.abc import Sequence

Shape = tuple[int, ...]
InputShape = Shape | tuple[Shape, ...]


def shapes_of(input_shape: InputShape) -> tuple[Shape, ...]:
    """The shape of each input, batch first; `input_shape` alone is that of the only one."""
    shapes = [tuple(each) for each in input_shape if isinstance(each, Sequence)]
    return tuple(shapes) if shapes else (tuple(input_shape),)  # type: ignore[arg-type]
