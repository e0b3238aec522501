"""Has XLA compile the marked passes of training, and leaves everything else as it is written.

Compiled code may fuse and reorder operations, and so rounds in another way. For a gradient that makes no difference to
any promise; noise, norms, clips and encryption, which must be computed as they are written, are outside the passes.

A pass is compiled for each number of examples that a batch has, but only once that number has come up a few times:
until then, and for numbers that are rare, TensorFlow runs the pass without XLA. So batches need no padding.

Not public API: `tf.xla.experimental.jit_scope` sets the same attributes while a graph is made.
"""

import itertools

from tensorflow.core.framework import graph_pb2

from tff_vision import passes

_SCOPE = b'training_pass'  # Operations of different scopes are not compiled together.


def compile_passes(graph: graph_pb2.GraphDef) -> None:
  """Asks for the marked operations of a graph and of its functions to be compiled; changes the graph in place."""
  for node in itertools.chain(graph.node, *(function.node_def for function in graph.library.function)):
    if passes.is_marked(node):
      node.attr['_XlaCompile'].b = True
      node.attr['_XlaScope'].s = _SCOPE
      node.attr['_XlaSeparateCompiledGradients'].b = False
