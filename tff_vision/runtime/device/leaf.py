"""TensorFlow computations of TFF as functions of this process.

TFF serializes a computation as a graph with the names of its parameters and results, and of a node that initializes
its variables. A `Leaf` is such a graph on one device. It keeps its variables and tables under names of its own, so that
several copies of a computation can run at the same time.

Not public API: the messages are TFF's and TensorFlow's own.
"""

import contextlib
import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.eager import context

from tff_vision.data import one_element
from tff_vision.runtime.device import compiling
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.tff_internals import graph_names

_copies = itertools.count()
_tracing = threading.Lock()  # TensorFlow imports a graph into one function at a time.


# TFF has optimised the graphs already; for processors, doing it again takes a second and changes no number. For a GPU
# it chooses the layout of convolutions.
_NOT_AGAIN = tf.compat.v1.ConfigProto()
_NOT_AGAIN.graph_options.rewrite_options.disable_meta_optimizer = True


@contextlib.contextmanager
def _options(device):
  """Sets how TensorFlow prepares functions in this thread."""
  if not device.startswith('CPU'):
    yield
    return
  ours, before = context.FunctionCallOptions(config_proto=_NOT_AGAIN), context.context().function_call_options
  context.context().function_call_options = ours
  try:
    yield
  finally:
    context.context().function_call_options = before


class Element:
  """The only element of a sequence: its tensors, in the order in which `tf.data` flattens them."""

  def __init__(self, tensors: Sequence[tf.Tensor]):
    self.tensors = tuple(tensors)

  def variant(self) -> tf.Tensor:
    """Returns the sequence as a variant tensor, for graphs that do more than take the element."""
    with tf.device('CPU:0'):
      return _one_element(self.tensors)


@functools.partial(tf.function, reduce_retracing=True)
def _one_element(tensors):
  return tf.data.experimental.to_variant(tf.data.Dataset.from_tensors(tensors).with_options(one_element.options()))


@dataclasses.dataclass(frozen=True)
class Made:
  """A graph that is run.

  Attributes:
    results: What of it is returned.
    specs: The types of the tensors that are given.
    taken: For each result, a function from its tensor to those that are returned.
  """
  graph: graph_pb2.GraphDef
  results: Sequence[str]
  specs: Sequence[tf.TensorSpec]
  taken: Sequence[Callable[[tf.Tensor], Sequence[tf.Tensor]]]


class Leaf:
  """A copy of a program on one device. If the program is stateful, the copy runs one call at a time."""

  def __init__(self, program: program_lib.Program, device: str):
    """Args: `device` as TensorFlow names it, such as `GPU:0`."""
    self._program = program
    self._device = device
    self._tag = f'__copy_{next(_copies)}' if program.is_stateful else ''
    self._functions: dict[tuple[int, ...], tuple[Any, ...]] = {}
    self._turn = threading.Lock() if program.is_stateful else contextlib.nullcontext()

  def __call__(self, arguments: Sequence[tf.Tensor | Element]) -> list[tf.Tensor]:
    """Runs the computation.

    Args:
      arguments: A tensor for each of the program's parameters; for a sequence its variant, or its only `Element`.

    Raises:
      compiling.CannotCompile: XLA fails.
      tf.errors.OpError: The graph fails; `ResourceExhaustedError` if the device has too little memory.
    """
    direct = tuple(position for position, argument in enumerate(arguments)
                   if isinstance(argument, Element) and position in self._program.elements)
    flat: list[tf.Tensor] = []
    for position, argument in enumerate(arguments):
      if not isinstance(argument, Element):
        flat.append(argument)
      elif position in direct:
        flat.extend(argument.tensors)
      else:
        flat.append(argument.variant())
    with tf.device(self._device), self._turn, _options(self._device), compiling.explained():
      found = []
      for function in self._traced(direct):  # First the initial values of variables, then the results.
        found = function(*flat)
      return found

  def close(self) -> None:
    """Frees the variables."""
    self._functions.clear()
    if not self._tag:
      return
    with tf.device(self._device):
      for name, kind in self._program.variables:
        handle = tf.raw_ops.VarHandleOp(dtype=kind, shape=tf.TensorShape(None), shared_name=name + self._tag)
        tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)

  @property
  def functions(self) -> list[Any]:
    """The functions that were traced, with their graphs."""
    return [function for functions in self._functions.values() for function in functions]

  def _traced(self, direct):
    with _tracing:
      if direct not in self._functions:
        program = self._program
        made = [self._wrapped(direct, program.initializers)] if program.initializers else []
        self._functions[direct] = (*made, self._wrapped(direct, program.results))
      return self._functions[direct]

  def _wrapped(self, direct, returned):
    """Returns a function of the flat arguments that runs `returned`, which are tensors or operations."""
    program, graph = self._program, self._program.part(returned, self._tag, direct)
    present = {node.name for node in graph.node}
    names, specs, positions = [], [], []
    for position in range(len(program.parameters)):
      kinds = program.specs(position, as_element=position in direct)
      names += program.names(position, as_element=position in direct)
      specs += kinds
      positions += [position] * len(kinds)
    made = self._made(graph, returned, names, specs, positions)

    def run(*flat):
      fed = {name: tensor for name, tensor in zip(names, flat, strict=True) if graph_names.node_of(name) in present}
      if program.token and graph_names.node_of(program.token) in present:
        fed[program.token] = tf.constant('')
      found = tf.graph_util.import_graph_def(made.graph, input_map=fed, return_elements=list(made.results), name='')
      with tf.control_dependencies([one for one in found if isinstance(one, tf.Operation)]):
        return [part for one, taken in zip(found, made.taken, strict=True)
                for part in ([tf.constant(True)] if isinstance(one, tf.Operation) else taken(one))]

    return tf.compat.v1.wrap_function(run, made.specs)

  def _made(self, graph, returned, names, specs, positions):
    """Returns what is run in the place of a part of the program.

    Args:
      names: Of the tensors that are given; `specs` their types, `positions` those of their parameters.
    """
    del names, positions
    return Made(graph, returned, specs, [lambda one: [tf.identity(one)]] * len(returned))
