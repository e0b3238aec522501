"""Compiled forms of computations."""

import functools
import threading

import tensorflow_federated as tff
from tensorflow_federated.python.core.backends.native import compiler, mergeable_comp_compiler

from tff_vision.runtime import fusing

_lock = threading.Lock()
# Enough for the computations of a run; a process that makes more of them compiles the oldest again.
_KEPT = 64


def native_form(computation: tff.Computation) -> tff.Computation:
  """Returns the form that executors run, compiled afresh."""
  return compiler.desugar_and_transform_to_native(fusing.fused(computation))


def compile_once(computation: tff.Computation) -> tff.Computation:
  """Returns `native_form`, for all workers of this process: those that ask together wait for one compilation."""
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
  """Returns the form, or None, kept too: a round that cannot be split asks again each time."""
  try:
    return mergeable_comp_compiler.compile_to_mergeable_comp_form(fusing.fused(computation))
  except ValueError as error:
    if 'dependent on another' not in str(error):
      raise
    return None
