"""What a network is made of: a table of its layers, as one pass through it shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from torch import nn

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


def layer_table(model: nn.Module, *inputs: Any, depth: int = 1) -> pd.DataFrame:
    """The layers of a model in the order in which they are called.

    One pass with ``inputs`` gives the shapes. One backward pass tells which parameters get a
    gradient. The pass is made in evaluation mode, and the model is left as it was.

    Args:
        model: any network
        inputs: what ``model(*inputs)`` takes, usually a batch of two made-up samples
        depth: 1 shows the modules that the model names itself, 2 also theirs, and so on. Lists and
            dictionaries of modules are looked into and not counted.

    Returns:
        One row per layer, and a last row for all of the model. A layer inside another counts in
        both rows. Columns:

        - ``layer``: its name in the model
        - ``kind``: its class
        - ``output``: the shape, with the batch first; several, if it gives several; of a recurrent
          layer, its last state
        - ``parameters``: how many
        - ``with gradient``: how many of these learn from an error of the output

    Raises:
        ValueError: if no output of the model hangs on a parameter
    """
    layers = dict(_named_layers(model, depth))
    shapes: dict[str, str] = {}
    hooks = []
    for name, layer in layers.items():
        hooks.append(layer.register_forward_hook(_remember_shape(shapes, name)))
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            outputs = model(*inputs)
            shapes[""] = _shape(outputs)
            learning = _parameters_with_gradient(model, outputs)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)

    rows = []
    # A layer that was never called stands at the end: the model uses its parameters in its own way.
    called = [name for name in shapes if name]
    for name in [*called, *(name for name in layers if name not in shapes)]:
        rows.append(_row(name, layers[name], shapes.get(name, "not called"), learning))
    own = nn.ParameterList(model.parameters(recurse=False))
    if len(own):
        rows.append(_row("parameters of its own", own, "", learning))
    rows.append(_row("all", model, shapes[""], learning))
    return pd.DataFrame(rows)


def _named_layers(
    model: nn.Module, depth: int, prefix: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        full_name = f"{prefix}{name}"
        if isinstance(child, _CONTAINERS):
            yield from _named_layers(child, depth, f"{full_name}.")
            continue
        yield full_name, child
        if depth > 1:
            yield from _named_layers(child, depth - 1, f"{full_name}.")


def _remember_shape(shapes: dict[str, str], name: str):
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, nn.RNNBase):
            # Its outputs may be packed, which has no shape; its last state always has one.
            output = output[1]
        # Of a layer that is called several times, the first call counts.
        shapes.setdefault(name, _shape(output))

    return hook


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)


def _shape(output: Any) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in _tensors(output))


def _parameters_with_gradient(model: nn.Module, outputs: Any) -> set[int]:
    """Identities of the parameters that a change of the outputs reaches."""
    learning = [tensor for tensor in _tensors(outputs) if tensor.requires_grad]
    if not learning:
        raise ValueError(f"no output of {type(model).__name__} hangs on a parameter")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = sum(tensor.sum() for tensor in learning)
    # Unlike backward(), this leaves the gradients that the parameters hold alone.
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return {id(parameter) for parameter, gradient in pairs if gradient is not None}


def _row(name: str, layer: nn.Module, shape: str, learning: set[int]) -> dict[str, Any]:
    parameters = list(layer.parameters())
    return {
        "layer": name,
        "kind": type(layer).__name__ if name != "parameters of its own" else "",
        "output": shape,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "with gradient": sum(p.numel() for p in parameters if id(p) in learning),
    }
