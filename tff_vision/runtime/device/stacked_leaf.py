"""A copy of a program that computes several clients in one call."""

from collections.abc import Sequence

import tensorflow as tf

from tff_vision.runtime.device import leaf, stacking
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.tff_internals import graph_names


class StackedLeaf(leaf.Leaf):
  """Computes a program for a fixed number of clients; one call at a time."""

  def __init__(self, program: program_lib.Program, device: str, shared: Sequence[bool], count: int):
    """Args: `shared` says for each parameter whether all clients are given the same; `count` is that of the clients."""
    super().__init__(program, device)
    self._shared, self._count = tuple(shared), count
    self._is_stacked: Sequence[bool] = ()

  def of_clients(self, arguments: Sequence[Sequence[tf.Tensor | leaf.Element]]) -> list[list[tf.Tensor]]:
    """Returns the results of each client.

    Args:
      arguments: For each client what `Leaf` is called with; tensors of all have the same shapes.

    Raises:
      stacking.CannotStack: The program cannot be rewritten.
      tf.errors.OpError: As in `Leaf`.
    """
    found = iter(self([one[0] if shared else _stacked(one) for one, shared in
                       zip(zip(*arguments, strict=True), self._shared, strict=True)]))
    each = [[next(found) for _ in range(self._count)] if own else [next(found)] * self._count
            for own in self._is_stacked]
    return [list(one) for one in zip(*each, strict=True)]

  def _made(self, graph, returned, names, specs, positions):
    own = [not self._shared[position] for position in positions]
    nodes, given = {node.name: node for node in graph.node}, []
    for name, spec, stacked in zip(map(graph_names.node_of, names), specs, own, strict=True):
      if name in nodes:
        nodes[name].attr['shape'].shape.CopyFrom(spec.shape.as_proto())
        if stacked:
          given.append(name)
    found = stacking.stack(graph, given, list(returned), self._count)
    self._is_stacked = found.is_stacked  # The results are traced last.
    return leaf.Made(
        found.graph, found.results,
        [tf.TensorSpec([self._count, *spec.shape] if stacked else spec.shape, spec.dtype)
         for spec, stacked in zip(specs, own, strict=True)],
        [self._unstacked if stacked else lambda one: [tf.identity(one)] for stacked in found.is_stacked])

  def _unstacked(self, tensor):
    return tf.unstack(tensor, self._count)


def _stacked(values):
  if isinstance(values[0], leaf.Element):
    return leaf.Element([tf.stack(parts) for parts in zip(*(one.tensors for one in values), strict=True)])
  return tf.stack(values)
