"""What a network expects of its commands: by hand."""

from nas.check.expected import ANY, Expected
from nas.ir.command import Command, Conv, Eltwise, Tail
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import FLOAT32, Tensor, dense

MAP = (1, 4, 2, 2)
TENSORS = [
    Tensor("x", MAP, role="input"),
    Tensor("w", (4, 4, 1, 1), role="constant"),
    Tensor("table", (2, 4), role="constant"),
]
TENSORS += [Tensor(name, MAP) for name in ("a", "b", "seen")] + [
    Tensor("both", (1, 8, 2, 2)),
    Tensor("y", (1, 8, 2, 2)),
]
CONV, RELU = Conv(tail=Tail(table=True)), Eltwise(tail=Tail(activation="relu"))
OPERATORS = [
    Operator("a", CONV, ("x", "w", "table"), ("a",)),
    Operator("b", RELU, ("x",), ("b",)),
    Operator("v", View((4, 2, 2), (0, 2, 1)), ("a",), ("seen",)),
    Operator("c", Concat(), ("seen", "b"), ("both",)),
    Operator("y", RELU, ("both",), ("y",)),
]


def command(layer: str, attributes: Conv | Eltwise) -> Command:
    here = dense("sram", 0, MAP[1:], 32)
    return Command("vector", layer, (here,), (here,), attributes)


def test_views_and_joins_are_what_lies_behind_them():
    expected = Expected(OPERATORS, TENSORS)
    assert expected.bound("both") == {"a", "b"}
    assert expected.operands(command("y", RELU), 1) == ({"a", "b"}, {"y"})


def test_operands_have_their_places_and_sums_are_taken_up_again():
    first, weights, table, made = Expected(OPERATORS, TENSORS).operands(command("a", CONV), 3)
    constants = {"w", "table", "a constant"}
    assert (first, weights, made) == ({"x"}, {"w", "a constant"}, {"a"})
    assert table == {"x", "a"} | constants


def test_sums_may_be_made_in_parts_and_their_tail_alone():
    expected = Expected(OPERATORS, TENSORS)
    first, more = Conv(), Conv(tail=Tail(add=FLOAT32))
    tail, other = Eltwise(FLOAT32, CONV.tail), Eltwise(FLOAT32, Tail(activation="relu"))
    assert [expected.operands(command("a", part), 2)[-1] for part in (first, more)] == [{"a"}, {"a"}]
    assert expected.operands(command("a", tail), 1) == ({"x", "a"}, {"a"})
    assert expected.operands(command("a", other), 1) == (ANY, ANY)


def test_what_no_operator_does_and_what_no_tensor_is():
    expected = Expected(OPERATORS, TENSORS)
    assert expected.operands(command("a", RELU), 1) == (ANY, ANY)
    assert expected.bound("pack") == {"a constant"}
    assert Expected((), ()).bound("pack") == ANY


def test_of_too_many_tensors_nothing_is_said():
    chain = [Operator("c", Concat(), (f"t{i}", "x"), (f"t{i + 1}",)) for i in range(2)]
    many = [Operator("c", Concat(), tuple(f"s{i}" for i in range(300)), ("t0",)), *chain]
    tensors = [*TENSORS, *(Tensor(f"s{i}", MAP) for i in range(300)), *(Tensor(f"t{i}", MAP) for i in range(3))]
    assert Expected(many, tensors).bound("t2") == ANY
