"""Has XLA compile the marked passes of training, and leaves everything else as it is written.

Compiled code may fuse and reorder operations, and so rounds in another way. For a gradient that makes no difference to
any promise; noise, norms, clips and encryption, which must be computed as they are written, are outside the passes.
Random numbers of a pass, such as those of dropout, are drawn outside XLA too, whose generators are others.

A pass is compiled for each number of examples that a batch has, but only once that number has come up a few times:
until then, and for numbers that are rare, TensorFlow runs the pass without XLA. So batches need no padding.

Not public API: `tf.xla.experimental.jit_scope` sets the same attributes while a graph is made.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tff_vision import passes
from tff_vision.runtime.device import cuda_compiler, said
from tff_vision.runtime.tff_internals import graph_names

_SCOPE = b'training_pass'  # Operations of different scopes are not compiled together.
_RANDOM = re.compile('Random|Rng|Normal|Uniform|Multinomial|Shuffle|StatelessSample|Binomial')
# By default, XLA may drop a NaN where it takes the larger of two numbers, and whoever skips or refuses what is not
# finite would not see it.
_FLAGS = ('--xla_cpu_enable_fast_min_max=false', '--xla_gpu_enable_fast_min_max=false')
# The operations that TensorFlow puts in the place of what is compiled, in the message of an error.
_COMPILED = re.compile(r'xla_(compile|run)|_Xla(Compile|Run)')


class CannotCompile(ValueError):
  """XLA does not compile, or run, a pass of training."""


def check(devices: Sequence[str]) -> None:
  """Checks that XLA finds what it needs to compile for these devices, and that compiled code keeps NaN.

  Raises:
    ValueError: There is a GPU among them, and a file is missing without which XLA fails or ends the process; XLA fails;
      or it has read its options before, which are others.
  """
  if any(device.startswith('GPU') for device in devices):
    found = cuda_compiler.files(pathlib.Path(tf.__file__).parent.parent, os.environ)
    if missing := [name for name, path in found.items() if path is None]:
      raise ValueError(f'jit=True needs {" and ".join(missing)} of CUDA 11.8 on a GPU, and XLA does not find it: '
                       'pip install --no-deps -r requirements-gpu.txt, or train without --jit.')
  _set_options()
  try:
    with tf.device(devices[0]):
      kept = tf.math.is_nan(_bounded(tf.constant([float('nan')]))).numpy().all()
  except tf.errors.OpError as error:
    raise _cannot_compile(error) from error
  if not kept:
    raise ValueError('jit=True: XLA makes a number of NaN in this program, which has compiled with it before, or names '
                     f'another option; set XLA_FLAGS="{" ".join(_FLAGS)}" before the program begins.')


def compile_passes(graph: graph_pb2.GraphDef) -> None:
  """Asks for the marked operations of a graph and of its functions to be compiled; changes the graph in place.

  All others are kept from it, whatever TensorFlow is told to compile in this process.
  """
  functions = {function.signature.name: function.node_def for function in graph.library.function}
  for node in graph_names.all_nodes(graph):
    compiled = passes.is_marked(node) and not _draws([node], functions)
    node.attr['_XlaCompile'].b = compiled
    if compiled:
      node.attr['_XlaScope'].s = _SCOPE
      node.attr['_XlaSeparateCompiledGradients'].b = False


@contextlib.contextmanager
def explained() -> Iterator[None]:
  """Surrounds the execution of graphs.

  Raises:
    CannotCompile: XLA fails. Too little memory and errors of other operations are raised as they are.
  """
  try:
    yield
  except tf.errors.ResourceExhaustedError:
    raise
  except tf.errors.OpError as error:
    if not _COMPILED.search(error.message):
      raise
    raise _cannot_compile(error) from error


def _cannot_compile(error):
  first = said.by_tensorflow(error).splitlines()[0][:200]
  return CannotCompile(f'--jit: XLA cannot compile or run a pass of this training ({first}). Train without --jit; on a '
                       'GPU, pipelines.doctor says what XLA lacks.')


@tf.function(jit_compile=True)
def _bounded(x):
  return tf.nn.relu6(x)


def _set_options():
  """Adds options to those of this process, which XLA reads when it compiles for the first time."""
  given = os.environ.get('XLA_FLAGS', '')
  missing = [flag for flag in _FLAGS if flag.partition('=')[0] not in given]
  os.environ['XLA_FLAGS'] = ' '.join(filter(None, [given, *missing]))


def _draws(nodes, functions):
  """Returns whether a function draws random numbers, or a function that it calls does."""
  return any(_RANDOM.search(node.op) or any(
      _draws(functions[called.name], functions) for called in graph_names.called(node) if called.name in functions)
             for node in nodes)
