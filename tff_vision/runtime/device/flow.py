"""Loops and conditions of a graph, as TFF's compiler leaves them: `Switch`, `Merge` and their like.

Not public API: the messages are TensorFlow's own.
"""

import graphlib
from collections.abc import Mapping, Sequence

from tensorflow.core.framework import node_def_pb2

from tff_vision.runtime.tff_internals import graph_names

OPERATIONS = frozenset({'Enter', 'Merge', 'Switch', 'NextIteration', 'Exit'})
# A condition, and which of its two ways.
Way = tuple[str, int]


class Flow:
  """Which nodes run in which order, and under which conditions.

  Attributes:
    order: The names of the nodes, each after those that it needs, but for the edges that close loops.
    ways: Name of a node -> the ways that it follows and that no `Merge` has ended. Those of loops do not count.
    choices: Name of a `Merge` that ends a condition -> the condition, and which of its inputs is there if it is true.
    undecided: Names of all other `Merge` nodes, but for those of loops.
  """

  def __init__(self, nodes: Mapping[str, node_def_pb2.NodeDef]):
    """Args: `nodes` are all nodes of a graph, by name."""
    self._nodes = nodes
    self.order: Sequence[str] = list(graphlib.TopologicalSorter({
        name: {graph_names.node_of(given) for given in node.input
               if not (node.op == 'Merge' and self._op(given) == 'NextIteration')}
        for name, node in nodes.items()}).static_order())
    self.ways: dict[str, frozenset[Way]] = {}
    self.choices: dict[str, tuple[str, int]] = {}
    self.undecided: set[str] = set()
    for name in self.order:
      self._follow(nodes[name])

  def is_loop(self, node: node_def_pb2.NodeDef) -> bool:
    """Returns whether a node begins the steps of a loop."""
    return node.op == 'Merge' and any(self._op(given) == 'NextIteration' for given in node.input)

  def condition_of(self, switch: node_def_pb2.NodeDef) -> str:
    """Returns the tensor that says which way a `Switch` goes."""
    return self.origin(switch.input[1])

  def origin(self, tensor: str) -> str:
    """Returns the tensor that is passed on as this one."""
    while self._op(tensor) == 'Identity':
      tensor = self._nodes[graph_names.node_of(tensor)].input[0]
    return tensor

  def _op(self, tensor):
    return self._nodes[graph_names.node_of(tensor)].op

  def _follow(self, node):
    given = [self._ways_of(one) for one in node.input if not (
        node.op == 'Merge' and self._op(one) == 'NextIteration')]
    ways = frozenset().union(*given)
    if node.op == 'Merge' and not self.is_loop(node):
      first, second = given[:2]
      decided = sorted((condition, way) for condition, way in first if (condition, 1 - way) in second)
      if decided and len(list(graph_names.data_of(node))) == 2:
        condition, way = decided[0]
        self.choices[node.name] = condition, 1 - way
        ways -= {(condition, 0), (condition, 1)}
      else:
        self.undecided.add(node.name)
    self.ways[node.name] = ways

  def _ways_of(self, given):
    node, output = graph_names.parts_of(given.removeprefix('^'))
    found = self.ways[node]
    if self._nodes[node].op == 'Switch' and not graph_names.is_edge_of_order(given):
      condition = self.condition_of(self._nodes[node])
      if self._op(condition) != 'LoopCond':
        found |= {(condition, output)}
    return found
