"""What of a checkpoint fits another network: a wider one, a deeper one, one with other classes; and what it says of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nas.core.errors import InputError
from nas.train.state.checkpoint import Progress, save_checkpoint, with_prefix
from nas.train.state.transfer import begin, load_exactly, read_weights, start_from, transfer


def _network(width: int = 4, depth: int = 2, classes: int = 5) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(depth):
        layers.append(nn.Sequential(nn.Conv2d(channels, width, 3, bias=False), nn.BatchNorm2d(width)))
        channels = width
    head = nn.Sequential(nn.Flatten(), nn.Linear(channels, classes))
    return nn.Sequential(nn.ModuleDict({f"unit{i}": layer for i, layer in enumerate(layers)}), head)


def _numbered(network: nn.Module) -> dict[str, torch.Tensor]:
    """Every element has its own value, so that a copy from the wrong place is seen."""
    state = network.state_dict()
    return {
        name: torch.arange(value.numel()).reshape(value.shape).to(value) + i
        for i, (name, value) in enumerate(state.items())
    }


def test_the_same_network_is_copied_whole() -> None:
    tensors, model = _numbered(_network()), _network()
    result = transfer(model, tensors)
    assert (result.partly, result.fresh, result.unused) == ((), (), ())
    assert set(result.copied) == set(tensors)
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_another_head_stays_fresh_and_the_rest_is_copied() -> None:
    tensors, model = _numbered(_network(classes=5)), _network(classes=7)
    before = model[1][1].weight.clone()
    result = transfer(model, tensors)
    assert set(result.fresh) == set(result.unused) == {"1.1.weight", "1.1.bias"}
    assert torch.equal(model[1][1].weight, before)
    assert torch.equal(model[0]["unit1"][0].weight, tensors["0.unit1.0.weight"])


@pytest.mark.parametrize(("from_width", "to_width"), [(4, 6), (6, 4)])
def test_another_width_gets_the_common_corner(from_width: int, to_width: int) -> None:
    tensors, model = _numbered(_network(from_width)), _network(to_width)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = transfer(model, tensors)
    assert "0.unit1.0.weight" in result.partly
    assert result.copied == ("0.unit0.1.num_batches_tracked", "0.unit1.1.num_batches_tracked", "1.1.bias")
    weight = model.state_dict()["0.unit1.0.weight"]
    assert torch.equal(weight[:4, :4], tensors["0.unit1.0.weight"][:4, :4])
    if to_width == 6:
        assert torch.equal(weight[4:], before["0.unit1.0.weight"][4:])
        assert torch.equal(weight[:, 4:], before["0.unit1.0.weight"][:, 4:])


@pytest.mark.parametrize(("from_depth", "to_depth"), [(2, 3), (3, 2)])
def test_another_depth_lists_what_has_no_partner(from_depth: int, to_depth: int) -> None:
    result = transfer(_network(depth=to_depth), _numbered(_network(depth=from_depth)))
    third = {f"0.unit2.{name}" for name in _network(depth=1)[0]["unit0"].state_dict()}
    assert (set(result.fresh), set(result.unused)) == ((third, set()) if to_depth == 3 else (set(), third))
    assert str(result).startswith(f"{len(result.copied)} tensors copied, 0 partly, {len(result.fresh)} fresh; ")


def test_weights_come_from_a_file_a_finished_run_or_one_that_stopped(tmp_path: Path) -> None:
    state = _network().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    (tmp_path / "done").mkdir()
    save_file(state, tmp_path / "done" / "model.safetensors")
    progress = Progress(3, 1.0, 0.0, 0, False, [], {}, {})
    save_checkpoint(tmp_path / "stopped", progress, with_prefix("model/", state) | {"rng/cpu": torch.zeros(2)})
    for path in ("weights.safetensors", "done", "stopped"):
        assert set(read_weights(tmp_path / path)) == set(state)
    model = _network()
    load_exactly(model, tmp_path / "done")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a readable safetensors file"):
        start_from(_network(), tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"expected the folder of a run, with model.safetensors or a checkpoint, got neither"
    ):
        start_from(_network(), tmp_path / "empty")
    with pytest.raises(InputError, match="nothing is unpickled here"):
        start_from(_network(), tmp_path / "weights.pth")
    save_file({"other.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(
        InputError, match=r"expected weights of a related network, got none that fits .0.unit0.0.weight here"
    ):
        start_from(_network(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="expected the weights of exactly this network"):
        load_exactly(_network(), tmp_path / "other.safetensors")


def test_a_resumed_run_keeps_the_source_it_began_with(tmp_path: Path) -> None:
    source, folder = tmp_path / "weights.safetensors", tmp_path / "run"
    save_file(_network().state_dict(), source)
    assert begin(_network(), None, folder) is None
    result = begin(_network(), source, folder)
    assert result is not None
    assert (folder / "start_from.json").exists()
    save_checkpoint(folder, Progress(3, 1.0, 0.0, 0, False, [], {}, {}), {"rng/cpu": torch.zeros(2)})
    assert begin(_network(), source, folder) == result
    for other in (None, tmp_path / "another"):
        with pytest.raises(InputError, match=r"start_from: expected .*weights.safetensors"):
            begin(_network(), other, folder)
