"""conf/compile.yaml -> the programs of one network, its ground truth, and a report of where its time goes."""

from pathlib import Path

from entry import script
from networks import network_to_compile
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from nas.compiler.driver import compile_network
from nas.compiler.opt.pipeline import check_switches
from nas.compiler.options import CompileOptions
from nas.compiler.precision import precision_named
from nas.core.artifact import write_json
from nas.core.config import from_config
from nas.core.errors import Violation
from nas.cost.explain import explain
from nas.cost.profile import profile
from nas.hw.load import processor_from
from nas.report.programs.explain_table import print_explanation
from nas.report.programs.profile_table import print_profile
from nas.report.programs.timeline import draw_timeline
from nas.report.programs.trace_events import write_trace_events
from nas.report.terminal import COMPILING


@script("compile", "Compile one network for one processor; simulate it.")
def main(config: DictConfig) -> None:
    """Compile, check, simulate, report."""
    folder, console = Path(config.folder), Console()
    processor = processor_from(config.hardware, "hardware")
    switched_off = check_switches(config.without)
    precision = precision_named(config.quantise, "quantise")
    chosen = OmegaConf.masked_copy(config, CompileOptions.__struct_fields__)
    options = from_config(chosen, CompileOptions, "compile")
    model, shape = network_to_compile(config, options)
    with console.status(COMPILING):
        compiled = compile_network(model, shape, processor, switched_off, options.seed, precision, options.ladder)
    if isinstance(compiled, Violation):
        console.print(f"does not fit: {compiled}", style="bold yellow", highlight=False, markup=False)
        raise SystemExit(3)
    compiled.write(folder)
    seen, trace = profile(compiled, sum(parameter.numel() for parameter in model.parameters()))
    write_json(folder / "profile.json", seen, "profile", 1)
    draw_timeline(trace, folder / "timeline.png")
    write_trace_events(trace, folder / "timeline.json")
    print_profile(seen, console)
    if config.explain is not None:
        why = explain(compiled, str(config.explain))
        write_json(folder / "explanation.json", why, "explanation", 1)
        print_explanation(why, console)
    console.print(f"in {folder}: cmds*.json, *.safetensors, profile.json, timeline.png, timeline.json", soft_wrap=True)


if __name__ == "__main__":
    main()
