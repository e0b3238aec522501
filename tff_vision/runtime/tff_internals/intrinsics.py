"""What a computation asks of whoever runs it."""

import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.compiler import building_blocks, tree_analysis

# How TFF names the aggregations that it leaves to a backend with a protocol of its own.
_SECURE = 'federated_secure_'


def require_executable(computation: tff.Computation) -> None:
  """Refuses TFF's own secure aggregation.

  Raises:
    ValueError: The computation asks for it, and the executors of the runtime do not have it.
  """
  asked = set()

  def visit(node):
    if isinstance(node, building_blocks.Intrinsic) and node.uri.startswith(_SECURE):
      asked.add(node.uri)

  tree_analysis.visit_preorder(computation.to_building_block(), visit)
  if asked:
    raise ValueError(f'the aggregator asks TFF for {", ".join(sorted(asked))}, which its executors do not have: take '
                     'one that adds up with tff.aggregators.SumFactory or MeanFactory, or choose secure_sum: with it '
                     'the server reads the sum and no update.')
