"""What tests of serialized graphs share."""


def nodes(graph):
  """Returns the nodes of a graph and of the functions in its library."""
  return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
