"""Record what a function of tensors does once, and run those operations alone from then on.

Calling a stacked net through vmap and autograd costs several times what its operations do, for nets as small
as ours (measured: 267 against 136 microseconds a step). What is recorded is every operation of forward and
backward, those of a custom autograd function's own backward included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from primer.errors import CantFuse

ATEN = torch.ops.aten
# operations that give their input where it has that shape already
SHAPING = (ATEN.view.default, ATEN._unsafe_view.default, ATEN.expand.default, ATEN.reshape.default)
FILLING = (ATEN.ones_like.default, ATEN.zeros_like.default, ATEN.new_zeros.default, ATEN.new_ones.default)
TRANSPOSE, BMM = ATEN.transpose.int, ATEN.bmm.default
LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # x (n, k), w (m, k) -> x w.T, by oneDNN
LARGE_FLOPS = 5e6  # of a product, measured: from here on oneDNN is faster than a batch by MKL, up to twice


NUM_CLASSES = 16  # measured: of fewer, torch's kernel of log_softmax takes four times as long as its parts


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Any:
    if x.shape[dim] >= NUM_CLASSES or half_to_float:
        return NotImplemented
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _log_softmax_backward(gradient: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Any:
    if output.shape[dim] >= NUM_CLASSES or dtype != gradient.dtype:
        return NotImplemented
    return gradient - output.exp() * gradient.sum(dim, keepdim=True)


DECOMPOSED: dict[Any, Callable[..., Any]] = {
    ATEN._log_softmax.default: _log_softmax,
    ATEN._log_softmax_backward_data.default: _log_softmax_backward,
}


def traced(
    function: Callable[..., Any], *example: Tensor, places: Sequence[Tensor] | None = None
) -> Callable[..., Any]:
    """What `function` does with tensors of these shapes, as one graph; its answers carry no gradient.

    With `places` all answers but the first are written there at each call, and the first is returned.

    >>> weight = torch.ones(3, requires_grad=True)
    >>> double = traced(lambda weight: torch.autograd.grad((2 * weight).sum(), weight), weight)
    >>> double(weight)
    (tensor([2., 2., 2.]),)
    """
    module = make_fx(function, decomposition_table=DECOMPOSED)(*example)
    module.graph.set_codegen(fx.graph.CodeGen())  # tensors in and out, with nothing to take apart
    targets = [node.target for node in module.graph.nodes]
    if any(isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable for target in targets):
        raise CantFuse("the net changes tensors in place")  # what was recorded would change them at each call
    for node in list(module.graph.nodes):
        if node.op == "call_function":
            _simplify(module, node)
    module.graph.eliminate_dead_code()
    if places is not None:
        _write_answers(module, places)
    module.recompile()

    forward = module.forward  # without what a call of a module looks for, such as hooks

    def run(*tensors: Tensor) -> Any:
        with torch.no_grad():
            return forward(*tensors)

    return run


def _write_answers(module: fx.GraphModule, places: Sequence[Tensor]) -> None:
    """Have a graph write its answers, the first one apart, where they are wanted, large products at once."""
    graph = module.graph
    (output,) = graph.find_nodes(op="output")
    first, *others = output.args[0]
    for number, (node, place) in enumerate(zip(others, places, strict=True)):
        if node.target is BMM and len(node.users) == 1 and _is_large(node):
            node.target = _Products(place)
            continue
        name = f"place_{number}"
        module.register_buffer(name, place)
        with graph.inserting_before(output):
            graph.call_function(ATEN.copy_.default, (graph.get_attr(name), node))
    output.args = (first,)


def _simplify(module: fx.GraphModule, node: fx.Node) -> None:
    """Leave out what computes nothing, or the same each time."""
    source = node.args[0] if node.args else None
    if isinstance(source, fx.Node) and _is_nothing(node, source):
        node.replace_all_uses_with(source)
    elif node.target is TRANSPOSE and isinstance(source, fx.Node):
        _turn_product(module.graph, node, source)
    elif _is_constant(node):
        name = f"constant_{node.name}"
        with torch.no_grad():
            module.register_buffer(name, _computed(module, node))
        with module.graph.inserting_before(node):
            constant = module.graph.get_attr(name)
        constant.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(constant)


def _is_nothing(node: fx.Node, source: fx.Node) -> bool:
    if node.target is ATEN.detach.default:
        return True
    before, after = source.meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    is_same = before.shape == after.shape and before.dtype == after.dtype
    is_times_one = node.target is ATEN.mul.Scalar and bool(node.args[1] == 1)
    return is_same and (node.target in SHAPING or is_times_one)


def _is_constant(node: fx.Node) -> bool:
    """Whether it gives the same at each call: all that it needs are shapes and constants."""
    if not isinstance(node.target, torch._ops.OpOverload) or not isinstance(node.meta.get("val"), Tensor):
        return False
    is_random = torch.Tag.nondeterministic_seeded in node.target.tags
    needs = [] if node.target in FILLING else node.all_input_nodes
    return not is_random and all(source.op == "get_attr" for source in needs)


def _computed(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """What a node gives of constants, and of the shapes of others."""

    def value_of(source: fx.Node) -> Any:
        if source.op == "get_attr":
            return getattr(module, str(source.target))
        shaped = source.meta["val"]
        return torch.empty(shaped.shape, dtype=shaped.dtype, device=shaped.device)

    arguments, keywords = fx.node.map_arg((node.args, node.kwargs), value_of)
    value: Tensor = node.target(*arguments, **keywords)  # type: ignore[operator]
    return value


def _turn_product(graph: fx.Graph, node: fx.Node, product: fx.Node) -> None:
    """`(a.T b).T` is `b.T a`, whose entries lie in the order of the weight that it is the gradient of."""
    if product.target is not BMM or set(node.args[1:]) != {1, 2}:
        return
    left, right = product.args
    assert isinstance(left, fx.Node)
    if left.target is not TRANSPOSE or set(left.args[1:]) != {1, 2}:
        return
    with graph.inserting_before(node):
        turned = graph.call_function(TRANSPOSE, (right, 1, 2))
        other = graph.call_function(BMM, (turned, left.args[0]))
    other.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(other)


class _Products:
    """As bmm, one product after the other by oneDNN, into memory that is there: to get 10 MB takes long."""

    __name__ = "products"

    def __init__(self, place: Tensor) -> None:
        self._products = place

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        for product, one, other in zip(self._products, left, right, strict=True):
            product.copy_(LINEAR(one, other.T, None, "none", [], ""))
        return self._products


def _is_large(product: fx.Node) -> bool:
    value, right = product.meta.get("val"), product.args[1]
    if LINEAR is None or not isinstance(value, Tensor) or not isinstance(right, fx.Node):
        return False
    flops = 2 * value[0].numel() * right.meta["val"].shape[1]
    return value.dtype == torch.float32 and value.device.type == "cpu" and flops >= LARGE_FLOPS
