"""Splits the argument of a federated computation by clients, and joins results.

A value is per client if its type is CLIENTS-placed and not all equal; then it is a list with one element for each
client. All other values go to every worker unchanged.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.types import type_conversions

structure = tff.structure

# Elements of a state whose names contain this word are not sent to workers.
SECRET = 'secret'


def _per_client(kind):
  return isinstance(kind, tff.FederatedType) and kind.placement is tff.CLIENTS and not kind.all_equal


def has_clients(kind: tff.Type | None) -> bool:
  """Returns whether any part of this type is per client."""
  return kind is not None and tff.types.contains(kind, _per_client)


def is_mixed(kind: tff.Type) -> bool:
  """Returns whether a type has both federated parts that are per client and federated parts that are not."""
  return has_clients(kind) and tff.types.contains(
      kind, lambda part: isinstance(part, tff.FederatedType) and not _per_client(part))


def count_clients(value: object, kind: tff.Type) -> int:
  """Returns the length of the per-client lists.

  Raises:
    TypeError: A value is no sequence.
    ValueError: The lists have different lengths.
  """
  lengths = set(_lengths(value, kind))
  if len(lengths) > 1:
    raise ValueError(f'the lists of values of clients have different lengths: {sorted(lengths)}.')
  return lengths.pop()


def _lengths(value, kind):
  if isinstance(kind, tff.StructType):
    for part, part_kind in zip(structure.from_container(value), structure.iter_elements(kind), strict=True):
      yield from _lengths(part, part_kind[1])
  elif _per_client(kind):
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
      raise TypeError(f'the values of clients are a list or another sequence, found {type(value).__name__}.')
    yield len(value)


def select(value: object, kind: tff.Type, positions: Sequence[int]) -> object:
  """Returns `value` with only the clients at `positions`, in that order."""
  if isinstance(kind, tff.StructType):
    parts = structure.iter_elements(structure.from_container(value))
    return structure.Struct([(name, select(part, part_kind, positions))
                             for (_, part), (name, part_kind)
                             in zip(parts, structure.iter_elements(kind), strict=True)])
  return [value[position] for position in positions] if _per_client(kind) else value


def without_secrets(value: object, kind: tff.Type) -> object:
  """Returns `value` for a worker, with zeros in place of the server's secrets, which are marked by their names.

  TFF gives the whole argument of a computation to every part of it. A client's update never depends on these secrets,
  so the zeros change only what a worker can learn, for example the noise of differential privacy.
  """
  member = kind.member if isinstance(kind, tff.FederatedType) else kind
  if _per_client(kind) or not isinstance(member, tff.StructType):
    return value
  parts = structure.iter_elements(structure.from_container(value))
  return structure.Struct([
      (name, _zeros(part, part_kind) if name and SECRET in name else without_secrets(part, part_kind))
      for (_, part), (name, part_kind) in zip(parts, structure.iter_elements(member), strict=True)])


def _zeros(value, kind):
  if isinstance(kind, tff.StructType):
    parts = structure.iter_elements(structure.from_container(value))
    return structure.Struct([(name, _zeros(part, part_kind)) for (_, part), (name, part_kind)
                             in zip(parts, structure.iter_elements(kind), strict=True)])
  return np.zeros_like(np.asarray(value))


def join(values: Sequence[object], kind: tff.Type, positions: Sequence[Sequence[int]]) -> object:
  """Returns one value for all clients, where `values[i]` holds the clients at `positions[i]`.

  Args:
    values: The values of groups of clients.
    kind: The type of the values; all parts are per client.
    positions: The positions of the clients in each value.
  """
  return type_conversions.type_to_py_container(_join(values, kind, positions), kind)


def _join(values, kind, positions):
  if isinstance(kind, tff.StructType):
    parts = [structure.from_container(value) for value in values]
    return structure.Struct([(name, _join([part[i] for part in parts], part_kind, positions))
                             for i, (name, part_kind) in enumerate(structure.iter_elements(kind))])
  placed = {position: element for value, chunk in zip(values, positions, strict=True)
            for position, element in zip(chunk, value, strict=True)}
  return [placed[position] for position in sorted(placed)]
