"""Splits computations that return values of clients, so that client work before an aggregation runs once.

When TFF splits a computation, the part after the aggregation gets only the argument and the merged sum, so it runs the
clients' work again. If this work draws noise, the second run differs from the one in the sum and is a second release.
Here the computation is split before its aggregations. The sum and the values returned to clients both use the same
client work. Usually one call is enough. If the values for clients depend on the sum, the client work stays on the
workers as handles until the sum is known.
"""

import dataclasses
import functools
from collections.abc import Iterator

import tensorflow_federated as tff

# Not public API; TFF's own compiler for mergeable computations uses these modules.
from tensorflow_federated.python.core.backends.native import mergeable_comp_compiler
from tensorflow_federated.python.core.environments.tensorflow_backend import tensorflow_tree_transformations
from tensorflow_federated.python.core.impl.compiler import (
  building_block_factory,
  building_blocks,
  transformations,
  tree_analysis,
  tree_transformations,
)
from tensorflow_federated.python.core.impl.computation import computation_impl
from tensorflow_federated.python.core.impl.context_stack import context_stack_impl

from tff_vision.runtime.tff_internals import arguments, compilation

structure = tff.structure


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of a computation of `arg`; `kept` is the result of `work`.

  Attributes:
    work: arg -> kept, CLIENTS-placed: all that a client computes before any aggregation and that is needed later.
    up_to_merge: (arg, kept) -> a partial result, SERVER-placed.
    at_once: arg -> (the partial result, the clients' values of the whole result, in order), from one call of `work`;
      None if a client's value depends on an aggregation.
    merge: Two partial results -> one.
    servers: (arg, kept, merged) -> the server's values of the whole result, in order. Runs without clients.
    clients: (arg, kept, merged) -> the clients' values, in order.
  """
  work: tff.Computation
  up_to_merge: tff.Computation
  at_once: tff.Computation | None
  merge: tff.Computation
  servers: tff.Computation
  clients: tff.Computation

  def nobody(self) -> structure.Struct:
    """Returns `kept` for an empty set of clients."""
    return structure.Struct.unnamed(*([] for _ in self.work.type_signature.result))


@functools.lru_cache(16)
def parts(computation: tff.Computation) -> Parts | None:
  """Returns the parts of a computation; None if it has no aggregation, so that each client can compute it alone.

  Raises:
    ValueError: One aggregation depends on the result of another.
  """
  kind = computation.type_signature.result
  body = _call_dominant(computation)
  of_sums = _dependent_on_aggregations(body.result.locals)
  if not of_sums and not arguments.is_mixed(kind):
    return None
  work, rest, of_clients = _cut(body, of_sums, kind)
  form = compilation.split_once(rest)
  arg_type, kept_type = rest.type_signature.parameter

  @tff.federated_computation(arg_type, kept_type)
  def up_to_merge(arg, kept):
    return form.up_to_merge([arg, kept])

  at_once = None
  if of_clients is not None:
    @tff.federated_computation(arg_type)
    def at_once(arg):
      kept = work(arg)
      return form.up_to_merge([arg, kept]), of_clients([arg, kept])

    at_once = _returning(at_once, [form.up_to_merge.type_signature.result, _kinds(kind, True)])

  def half(per_client):
    @tff.federated_computation(arg_type, kept_type, form.after_merge.type_signature.parameter[1])
    def chosen(arg, kept, merged):
      return [leaf for leaf, leaf_kind in _leaves(form.after_merge([arg, kept], merged), kind)
              if arguments.has_clients(leaf_kind) == per_client]
    return _returning(chosen, _kinds(kind, per_client))

  return Parts(work, up_to_merge, at_once, form.merge, half(False), half(True))


def assemble(kind: tff.Type, servers: object, clients: object) -> object:
  """Returns a result of type `kind` from the values of `Parts.servers` and `Parts.clients`, as TFF structures."""
  found = {False: iter(structure.to_elements(structure.from_container(servers))),
           True: iter(structure.to_elements(structure.from_container(clients)))}
  return _assemble(kind, found)


def _call_dominant(computation):
  """Returns a lambda whose result is a block of calls that are not nested."""
  whole = mergeable_comp_compiler._ensure_lambda(computation.to_building_block())
  lowered, _ = tensorflow_tree_transformations.replace_intrinsics_with_bodies(whole)
  return transformations.get_normalized_call_dominant_lambda(lowered, normalize_all_equal_bit=False)


def _dependent_on_aggregations(bindings):
  """Returns the names of the calls that aggregate or depend on the result of an aggregation."""
  found = set()
  for name, value in bindings:
    if _aggregates(value) or found & _references(value):
      found.add(name)
  return found


def _aggregates(call):
  function = call.function if isinstance(call, building_blocks.Call) else None
  return (isinstance(function, building_blocks.Intrinsic)
          and function.intrinsic_def().aggregation_kind is not None)


def _references(block):
  found = set()
  tree_analysis.visit_preorder(
      block, lambda part: found.add(part.name) if isinstance(part, building_blocks.Reference) else None)
  return found


def _cut(body, of_sums, kind):
  """Returns the computations arg -> kept, (arg, kept) -> result and (arg, kept) -> the clients' values in it.

  The last is None if one of the clients' values depends on an aggregation.
  """
  bindings, result = body.result.locals, body.result.result
  clients = {name for name, value in bindings if name not in of_sums and arguments.has_clients(value.type_signature)}
  needed = _references(result).union(*(_references(value) for name, value in bindings if name not in clients))
  kept = [building_blocks.Reference(name, value.type_signature) for name, value in bindings
          if name in clients and name in needed]
  before = building_blocks.Block([(name, value) for name, value in bindings if name not in of_sums],
                                 building_blocks.Struct(kept))
  both = building_blocks.Reference(
      next(building_block_factory.unique_name_generator(body)),
      tff.StructType([body.parameter_type, tff.StructType([one.type_signature for one in kept])]))
  given = {one.name: building_blocks.Selection(building_blocks.Selection(both, index=1), index=i)
           for i, one in enumerate(kept)}

  def after(returned):
    return _computation(building_blocks.Lambda(both.name, both.type_signature, building_blocks.Block(
        [(body.parameter_name, building_blocks.Selection(both, index=0)), *given.items(),
         *((name, value) for name, value in bindings if name not in given)], returned)))

  of_clients = building_blocks.Struct([leaf for leaf, leaf_kind in _leaves(result, kind)
                                       if arguments.has_clients(leaf_kind)])
  return (_computation(building_blocks.Lambda(body.parameter_name, body.parameter_type, before)), after(result),
          None if of_sums & _references(of_clients) else after(of_clients))


def _computation(block):
  block, _ = tree_transformations.remove_unused_block_locals(block)
  return computation_impl.ConcreteComputation(computation_proto=block.proto,
                                              context_stack=context_stack_impl.context_stack)


def _kinds(kind, per_client):
  """Returns the types of the server's or of the clients' values in a result, with their Python containers."""
  return [leaf for leaf, _ in _leaves(kind, kind) if arguments.has_clients(leaf) == per_client]


def _returning(computation, kinds):
  """Returns the computation with Python containers in its result type, which compilation has removed."""
  return computation_impl.ConcreteComputation.with_type(
      computation, tff.FunctionType(computation.type_signature.parameter, tff.types.to_type(kinds)))


def _leaves(value, kind) -> Iterator[tuple[object, tff.Type]]:
  if isinstance(kind, tff.StructType):
    for i, (_, part) in enumerate(structure.iter_elements(kind)):
      is_block = isinstance(value, building_blocks.ComputationBuildingBlock)
      select = is_block and not isinstance(value, building_blocks.Struct)
      yield from _leaves(building_blocks.Selection(value, index=i) if select else value[i], part)
  else:
    yield value, kind


def _assemble(kind, found):
  if isinstance(kind, tff.StructType):
    return structure.Struct([(name, _assemble(part, found)) for name, part in structure.iter_elements(kind)])
  return next(found[arguments.has_clients(kind)])[1]
