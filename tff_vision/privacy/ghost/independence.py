"""Proves on the traced graph of a forward pass that no example of a batch affects another.

Each tensor gets a label: the same for every batch (`CONSTANT`), a function of the batch's size (`Counted`), slices of
one axis that belong to one example each (`Own`), or anything else (`MIXED`). Each kind of operation that is known to
keep examples apart has a rule below; an operation without a rule is labelled `MIXED`. So the proof holds for all inputs
and batch sizes, and for layers of any class, including Lambda and subclassed layers. A model that the proof does not
cover may still keep its examples apart.

Not covered: with another batch size, kernels may sum the numbers of one example in another order.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.framework import ops as tf_ops

from tff_vision.privacy.ghost import computing, moving, taps, whole_numbers
from tff_vision.privacy.ghost.labels import CONSTANT, MIXED, Constant, Counted, Mixed, Own


class StateError(ValueError):
  """A forward pass keeps state of an example for later passes."""


def check(graph: tf.Graph, inputs: tf.Tensor, targets: Sequence[tf.Tensor]) -> None:
  """Raises `taps.UnsupportedError` unless each target provably keeps the examples of `inputs` apart.

  Args:
    graph: The graph in which `inputs`, of unknown batch size, and `targets` were traced.

  Raises:
    StateError: The pass keeps state of an example; no clipping method is sound then.
  """
  found = _labels(graph, {inputs.ref(): Own(0)})
  for target in targets:
    label = found.get(target.ref(), CONSTANT)
    if not isinstance(label, (Own, Constant)):
      raise taps.UnsupportedError(f'not proven to keep the examples of a batch apart: {_culprit(target, found)}')


def of_inputs(graph: tf.Graph, inputs: tf.Tensor, targets: Sequence[tf.Tensor]) -> list[bool]:
  """Returns whether each target depends on `inputs`, even if only on their number.

  Raises:
    StateError: As in `check`.
  """
  found = _labels(graph, {inputs.ref(): Own(0)})
  return [not isinstance(found.get(target.ref(), CONSTANT), Constant) for target in targets]


def refuse_memory(graph: tf.Graph) -> None:
  """Raises StateError if anything in `graph` may keep state for later passes, for any input."""
  for op in graph.get_operations():
    for inner in _with_bodies(op):
      if _may_keep(inner) and inner.type not in (*_FORGETS, *_DRAWS):
        raise StateError(_keeps(inner))


def _labels(graph, known):
  """Returns the label of every tensor of `graph`, keyed by reference."""
  found = dict(known)
  for op in graph.get_operations():
    if any(output.ref() in found for output in op.outputs):
      continue
    labels = [found[tensor.ref()] for tensor in op.inputs]
    _refuse_state(op, labels)
    for output, label in zip(op.outputs, _outputs(op, labels), strict=True):
      found[output.ref()] = label
  return found


def _culprit(target, found):
  """Returns a description of the first operation on the way to `target` that mixes examples."""
  op, seen = target.op, set()
  while op not in seen:
    seen.add(op)
    mixed = [tensor for tensor in op.inputs if not isinstance(found[tensor.ref()], (Own, Constant))]
    if not mixed or all(isinstance(found[tensor.ref()], Counted) for tensor in mixed):
      break
    op = next(tensor for tensor in mixed if not isinstance(found[tensor.ref()], Counted)).op
  return f'operation {op.type} at {op.name}'


# Stateful operations that keep no state of their inputs.
_FORGETS = ('Assert', 'Case', 'If', 'Multinomial', 'Print', 'PrintV2', 'ReadVariableOp', 'ResourceGather',
            'ResourceGatherNd', 'StatefulPartitionedCall', 'VarHandleOp', 'VarIsInitializedOp', 'VariableShape',
            'While', 'RandomUniform', 'RandomUniformInt', 'RandomStandardNormal', 'TruncatedNormal', 'RandomShuffle')

_DRAWS = ('RngReadAndSkip', 'RngSkip')


def _refuse_state(op, labels):
  if all(isinstance(label, Constant) for label in labels):
    return
  for inner in _with_bodies(op):
    # The state of a generator only counts the numbers drawn.
    drawn = inner.type in _DRAWS and inner is op and all(isinstance(label, (Constant, Counted)) for label in labels)
    if _may_keep(inner) and inner.type not in _FORGETS and not drawn:
      raise StateError(_keeps(inner))


def _may_keep(op):
  # A call of Python code that says that it keeps nothing may keep anything.
  return op.op_def.is_stateful or op.type == 'PyFuncStateless'


def _keeps(op):
  return (f'operation {op.type} at {op.name} may keep something of an example for later ones, which no clip bounds: '
          'take out what changes variables while the model is trained.')


def _with_bodies(op):
  """Yields an operation, and all operations in the functions that it calls."""
  yield op
  for attribute in op.node_def.attr.values():
    names = [attribute.func.name] if attribute.HasField('func') else [one.name for one in attribute.list.func]
    for name in names:
      for inner in _body(op.graph, name).get_operations():
        yield from _with_bodies(inner)


def _body(graph, name):
  """Returns the graph of the function `name` that `graph` calls."""
  return graph._get_function(name).graph


def _outputs(op, labels):
  """Returns the labels of an operation's outputs."""
  if '_gradient_op_type' in op.node_def.attr and not _own_gradient(op):
    return [MIXED] * len(op.outputs)
  if op.type in whole_numbers.OF_SHAPES:
    return whole_numbers.OF_SHAPES[op.type](op, labels)
  if all(isinstance(label, (Constant, Counted)) for label in labels):
    return whole_numbers.whole_numbers(op, labels)
  if any(isinstance(label, Mixed) for label in labels) or op.type not in _RULES:
    return [MIXED] * len(op.outputs)
  made = _RULES[op.type](op, labels)
  made = made if isinstance(made, list) else [made] * len(op.outputs)
  if op.type in _KEEP_SHAPE:
    return made
  return [dataclasses.replace(label, shape=None) if isinstance(label, Own) else label for label in made]


def _own_gradient(op):
  """Whether the gradient that overrides an operation's own gradient is part of TensorFlow."""
  override = op.node_def.attr['_gradient_op_type'].s.decode()
  pending, seen = [tf_ops.gradient_registry.lookup(override)], set()
  while pending:
    function = inspect.unwrap(pending.pop())
    if id(function) in seen:
      continue
    seen.add(id(function))
    if not str(getattr(function, '__module__', None) or type(function).__module__).startswith('tensorflow.python.'):
      return False
    cells = [cell.cell_contents for cell in getattr(function, '__closure__', None) or () if _filled(cell)]
    pending += [content for content in cells if callable(content)]
  return True


def _filled(cell):
  try:
    _ = cell.cell_contents
  except ValueError:
    return False
  return True


def _careful(rule):
  """Returns the rule, changed to return MIXED where the rule needs a value that is not known."""
  def checked(op, labels):
    try:
      return rule(op, labels)
    except (TypeError, ValueError, IndexError, AttributeError):
      return MIXED
  return checked


def _called(op, labels):
  """A call of a traced function."""
  body = _body(op.graph, op.get_attr('f').name)
  known = {tensor.ref(): label for tensor, label in zip(body.inputs, labels, strict=True)}
  found = _labels(body, known)
  return [found[tensor.ref()] for tensor in body.outputs]


_KEEP_SHAPE = (*computing.UNARY, 'FusedBatchNormV3', 'Reshape')
_RULES: dict[str, Callable] = {name: _careful(rule) for name, rule in {
    **computing.RULES, **moving.RULES, 'PartitionedCall': _called, 'StatefulPartitionedCall': _called}.items()}
