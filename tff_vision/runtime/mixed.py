"""Computations on several workers whose result has values of the server and of the clients.

After the aggregation a worker has nothing left of what its clients did before it: TFF hands the parts of a split
computation nothing but the argument and the merged sum. So such a computation becomes two, one for the server's values
and one for the clients', and the clients' work is done in both. It has to be a function of the argument for the two to
agree, as training here is.
"""

import functools
from collections.abc import Callable, Iterator

import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.types import type_conversions

from tff_vision.runtime import arguments

structure = tff.structure


def invoke(run: Callable[[tff.Computation, object], object], comp: tff.Computation, arg: object) -> object:
  """Returns what `comp` returns for `arg`, from two calls of `run`: first the server's values, then the clients'."""
  servers, clients = _halves(comp)
  found = [iter(structure.to_elements(structure.from_container(run(half, arg)))) for half in (servers, clients)]
  kind = comp.type_signature.result
  return type_conversions.type_to_py_container(_assemble(kind, found), kind)


@functools.lru_cache(16)
def _halves(comp):
  """Returns two computations of `comp`'s argument: the server's leaves of its result, and the clients'."""
  def half(per_client):
    @tff.federated_computation(comp.type_signature.parameter)
    def chosen(arg):
      return [leaf for leaf, kind in _leaves(comp(arg), comp.type_signature.result)
              if arguments.has_clients(kind) == per_client]
    return chosen
  return half(False), half(True)


def _leaves(value, kind) -> Iterator[tuple[object, tff.Type]]:
  if isinstance(kind, tff.StructType):
    for i, (_, part) in enumerate(structure.iter_elements(kind)):
      yield from _leaves(value[i], part)
  else:
    yield value, kind


def _assemble(kind, found):
  if isinstance(kind, tff.StructType):
    return structure.Struct([(name, _assemble(part, found)) for name, part in structure.iter_elements(kind)])
  return next(found[arguments.has_clients(kind)])[1]
