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
    self._is_stacked: tuple[bool, ...] = ()

  def of_clients(self, arguments: Sequence[Sequence[tf.Tensor | leaf.Element]]) -> list[list[tf.Tensor]]:
    """Returns the results of each client.

    Args:
      arguments: For each client what `Leaf` is called with; tensors of all have the same shapes.

    Raises:
      stacking.CannotStack: The program cannot be rewritten.
      tf.errors.OpError: As in `Leaf`.
    """
    found = self([one[0] if shared else _stack(one) for one, shared in
                  zip(zip(*arguments, strict=True), self._shared, strict=True)])
    parts = iter(found)
    each = [[next(parts) for _ in range(self._count)] if own else [next(parts)] * self._count
            for own in self._is_stacked]
    return [list(one) for one in zip(*each, strict=True)]

  def _wrapped(self, direct, returned):
    program, count = self._program, self._count
    graph = program.part(returned, self._tag, direct)
    present = {node.name: node for node in graph.node}
    specs = [program.specs(position, as_element=position in direct) for position in range(len(program.parameters))]
    names = [[program_lib.placeholder(program.elements[position], i) for i in range(len(kinds))]
             if position in direct else [name]
             for position, (name, kinds) in enumerate(zip(program.parameters, specs, strict=True))]
    given = set()
    for position, (own, kinds) in enumerate(zip(names, specs, strict=True)):
      for name, kind in zip(own, kinds, strict=True):
        node = present.get(graph_names.node_of(name))
        if node is not None:
          node.attr['shape'].shape.CopyFrom(kind.shape.as_proto())
          if not self._shared[position]:
            given.add(node.name)
    made = stacking.stack(graph, given, list(returned), count)
    self._is_stacked = made.is_stacked

    def run(*flat):
      tensors = iter(flat)
      fed = {}
      for own in names:
        for name in own:
          tensor = next(tensors)
          if graph_names.node_of(name) in present:
            fed[name] = tensor
      if program.token and graph_names.node_of(program.token) in present:
        fed[program.token] = tf.constant('')
      found = tf.graph_util.import_graph_def(made.graph, input_map=fed, return_elements=list(made.results), name='')
      with tf.control_dependencies([one for one in found if isinstance(one, tf.Operation)]):
        results = []
        for one, own in zip(found, made.is_stacked, strict=True):
          if isinstance(one, tf.Operation):
            results.append(tf.constant(True))
          elif own:
            results.extend(tf.unstack(one, count))
          else:
            results.append(tf.identity(one))
        return results

    flat_specs = [tf.TensorSpec(kind.shape if self._shared[position] else tf.TensorShape([count]).concatenate(
        kind.shape), kind.dtype) for position, kinds in enumerate(specs) for kind in kinds]
    return tf.compat.v1.wrap_function(run, flat_specs)


def _stack(values):
  if isinstance(values[0], leaf.Element):
    return leaf.Element([tf.stack(parts) for parts in zip(*(one.tensors for one in values), strict=True)])
  return tf.stack(values)
