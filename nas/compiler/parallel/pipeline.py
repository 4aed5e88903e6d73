"""cmds-o.json -> cmds-o-par.json: commands to queues, dependences to tokens."""

from nas.compiler.parallel.place import place
from nas.ir.deps import dependences
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program


def parallelise(program: Program) -> ParProgram:
    """The same commands, each engine on its own queue, with the tokens that keep every dependence of `program`."""
    queues = place(program)
    waits: dict[int, list[int]] = {}
    signals: dict[int, list[int]] = {}
    queue_of = {index: number for number, queue in enumerate(queues.values()) for index in queue}
    must_follow = dependences(program.commands, [queue_of[index] for index in range(len(program.commands))])
    pairs = ((signaller, waiter) for waiter, found in enumerate(must_follow) for signaller in reversed(found))
    for token, (signaller, waiter) in enumerate(pairs):
        signals.setdefault(signaller, []).append(token)
        waits.setdefault(waiter, []).append(token)
    return ParProgram(
        name=program.name,
        processor=program.processor,
        inputs=program.inputs,
        outputs=program.outputs,
        constants=program.constants,
        queues={
            name: tuple(
                Step(program.commands[index], tuple(waits.get(index, ())), tuple(signals.get(index, ())))
                for index in commands
            )
            for name, commands in queues.items()
        },
        used_bytes=program.used_bytes,
    )
