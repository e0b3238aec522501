"""Compiled forms of computations: what a client does in one graph, and one aggregation for all that clients send.

An executor runs the steps of a computation separately, as they were written. In a round of federated averaging, each
client is then trained, weighted, and summed three times: update, weight and metrics. Every such call costs an executor
about 0.3 ms and several threads after the last client has trained. For a hundred small clients this is a sixth of the
round.
"""

import functools
import threading

import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.core.backends.mapreduce import compiler as mapreduce_compiler
from tensorflow_federated.python.core.backends.native import compiler, mergeable_comp_compiler

_lock = threading.Lock()
# Enough for the computations of a run; a process with more computations compiles the least recently used ones again.
_KEPT = 64


def native_form(computation: tff.Computation) -> tff.Computation:
  """Compiles the form that executors run, without a cache."""
  return compiler.desugar_and_transform_to_native(fused(computation))


def compile_once(computation: tff.Computation) -> tff.Computation:
  """Returns `native_form`, cached for all workers of this process; simultaneous calls wait for one compilation."""
  with _lock:
    return _native(computation)


def split_once(computation: tff.Computation) -> tff.framework.MergeableCompForm:
  """Returns the parts before, in and after the aggregation.

  Raises:
    ValueError: One aggregation depends on the result of another, so that there is no single place to split.
  """
  with _lock:
    form = _split(computation)
  if form is None:
    raise ValueError('this computation aggregates over clients twice, the second time depending on the first, '
                     'and cannot run on several workers; use runtime=local.')
  return form


@functools.lru_cache(_KEPT)
def _native(computation):
  return native_form(computation)


@functools.lru_cache(_KEPT)
def _split(computation):
  """Returns the form, or None if there is none. None is cached too, because such a round asks again each time."""
  try:
    return mergeable_comp_compiler.compile_to_mergeable_comp_form(fused(computation))
  except ValueError as error:
    if 'dependent on another' not in str(error):
      raise
    return None


# No optimisation here, because the compiler optimises graphs afterwards.
_NOT_OPTIMISED = tf.compat.v1.ConfigProto()
_NOT_OPTIMISED.graph_options.rewrite_options.disable_meta_optimizer = True


def fused(computation: tff.Computation) -> tff.Computation:
  """Returns the same computation with few calls, if it is a round: (state, clients' data) -> (state, server's output).

  Any other computation is returned unchanged: one that returns CLIENTS-placed values, or that aggregates or broadcasts
  values that depend on an aggregation. A computation that TFF cannot convert to its map-reduce form is also unchanged.
  """
  if not _is_round(computation.type_signature):
    return computation
  try:
    form = tff.backends.mapreduce.get_map_reduce_form_for_computation(computation, _NOT_OPTIMISED)
  except (ValueError, mapreduce_compiler.MapReduceFormCompilationError):
    return computation
  if form.securely_aggregates_tensors:
    return computation

  @tff.federated_computation(form.type_signature.parameter)
  def whole(arguments):
    state, data = arguments
    broadcast = tff.federated_broadcast(tff.federated_map(form.prepare, state))
    sent = tff.federated_map(form.work, tff.federated_zip([data, broadcast]))
    total = tff.federated_aggregate(sent[0], form.zero(), form.accumulate, form.merge, form.report)
    nothing = tff.federated_value((), tff.SERVER)
    results = tff.federated_map(form.update, tff.federated_zip((state, (total, nothing, nothing, nothing))))
    names = tff.structure.name_list_with_nones(computation.type_signature.result)
    return tff.structure.Struct([(name, results[i]) for i, name in enumerate(names)])

  return tff.framework.ConcreteComputation.with_type(whole, computation.type_signature)


def _is_round(kind):
  placed = lambda part, where: isinstance(part, tff.FederatedType) and part.placement is where
  return (isinstance(kind.parameter, tff.StructType) and len(kind.parameter) == 2
          and placed(kind.parameter[0], tff.SERVER) and placed(kind.parameter[1], tff.CLIENTS)
          and isinstance(kind.result, tff.StructType) and len(kind.result) == 2
          and all(placed(part, tff.SERVER) for part in kind.result))
