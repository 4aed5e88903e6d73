"""The rules about what a network is and what its commands do and read: each has a broken program that trips exactly it."""

import msgspec

from nas.check.parallel import check_par_program
from nas.check.sequential import check_program
from nas.ir.command import Conv, Eltwise, Window
from nas.ir.program import Operator, Program
from nas.ir.tensor import FLOAT32, Tensor
from tests.mutation.test_program_rules import CONV0, CONV1, SCALE0, SCALE1, in_order, placed

replace = msgspec.structs.replace


def with_network(program: Program) -> Program:
    """The same program, which knows what it computes."""
    conv, scale = (program.commands[index].attributes for index in (CONV0, SCALE0))
    assert isinstance(conv, Conv) and isinstance(scale, Eltwise)
    conv = replace(conv, window=replace(conv.window, padding=(1, 1, 1, 1)))
    operators = (Operator("conv", conv, ("x", "w", "table"), ("c",)), Operator("scale", scale, ("c",), ("y",)))
    bound = [(b, role) for part, role in ((program.inputs, "input"), (program.outputs, "output")) for b in part]
    tensors = [Tensor(each.name, each.region.shape, each.format, role) for each, role in bound]
    tensors += [Tensor(each.name, each.region.shape, each.format, "constant") for each in program.constants]
    return replace(program, operators=operators, tensors=(*tensors, Tensor("c", (1, 4, 8, 8), scale.input)))


def test_inputs_and_outputs_that_are_not_the_networks(legal) -> None:
    x, y = (
        Tensor(each.name, each.region.shape, each.format, role)
        for role, each in (("input", legal.program.inputs[0]), ("output", legal.program.outputs[0]))
    )
    assert check_program(replace(legal.program, tensors=(x, y)), legal.processor) == ()
    for broken in (
        (x,),
        (x, y, replace(y, name="z")),
        (x, replace(y, shape=(1, 4, 64))),
        (replace(x, role="output"), y),
        (x, replace(y, format=x.format)),
    ):
        findings = check_program(replace(legal.program, tensors=broken), legal.processor)
        assert {finding.rule for finding in findings} == {"tensors"}


def test_commands_that_no_operator_asks_for(legal) -> None:
    program = legal.program
    conv, scale = program.commands[CONV0].attributes, program.commands[SCALE0].attributes
    whole = replace(conv, window=replace(conv.window, padding=(1, 1, 1, 1)), dataflow="output_stationary")

    def findings(conv: Conv, scale: Eltwise) -> list[tuple[str, str]]:
        operators = (Operator("conv", conv, ("x", "w", "table"), ("c",)), Operator("scale", scale, ("c",), ("y",)))
        found = check_program(replace(program, operators=operators), legal.processor)
        return [(finding.rule, finding.where) for finding in found]

    assert findings(whole, scale) == []
    both = [("operator", f"command {CONV0} (conv)"), ("operator", f"command {CONV1} (conv)")]
    for broken in (
        conv,  # less padding than its tiles have
        replace(whole, weight=replace(whole.weight, scale=0.06)),
        replace(whole, tail=replace(whole.tail, activation="none")),
        replace(whole, tail=replace(whole.tail, pool=Window((2, 2), (2, 2)))),
        replace(whole, window=Window((3, 3), (1, 2), (1, 1, 1, 1))),
        scale,
    ):
        assert findings(broken, scale)[-1:] == both[-1:]
    scales = [("operator", f"command {SCALE0} (scale)"), ("operator", f"command {SCALE1} (scale)")]
    assert findings(whole, replace(scale, tail=replace(scale.tail, activation="relu"))) == scales
    other = replace(program, operators=(Operator("another", scale, ("c",), ("y",)),))
    assert check_program(other, legal.processor) == ()  # nothing is known of these layers


def test_operands_that_are_another_tensor(legal) -> None:
    """The second scaling takes the image, which has the format of what it should take."""
    program = with_network(legal.program)
    assert check_program(program, legal.processor) == ()
    broken = placed(program, SCALE1, program.commands[CONV1].reads[0].offset_bytes, "reads")
    (finding,) = check_program(broken, legal.processor)
    assert (finding.rule, finding.where) == ("own_operands", f"command {SCALE1} (scale)")
    assert finding.message == "read 0, sram[0x160: 4x4x8 @8]: expected a part of c, got one of x"


def test_what_is_known_of_the_network_holds_in_parallel_too(legal) -> None:
    """Where no sequential program has been checked."""
    program = with_network(legal.program)
    conv = program.operators[0]
    other = replace(conv, function=replace(conv.function, weight=FLOAT32))
    for rule, broken in (
        ("own_operands", placed(program, SCALE1, program.commands[CONV1].reads[0].offset_bytes, "reads")),
        ("operator", replace(program, operators=(other, *program.operators[1:]))),
        ("tensors", replace(program, tensors=program.tensors[1:])),
    ):
        par = in_order(broken, broken.commands)
        found = check_par_program(par, legal.processor, broken, sequential_is_checked=False)
        assert {finding.rule for finding in found} == {rule}
        assert check_par_program(par, legal.processor, broken) == ()
