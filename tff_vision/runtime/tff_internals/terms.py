"""What a value on a worker is made of, as a term: plain values, results of calls, their parts, and nothing of numbers.

Two values have the same term if the same computations made them from plain values of the same types. A term says
whether a value may leave a worker: of a key that stays there, no part and no function has the term of what is approved,
however it is packed into structures. Lists of clients of any length have the same term.

Not public API: the messages are TFF's own.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from tensorflow_federated.proto.v0 import array_pb2, data_type_pb2, executor_pb2

from tff_vision.runtime.tff_internals import canonical


@dataclasses.dataclass(frozen=True)
class Term:
  """Attributes: `key`: its SHA-256, which is all that is compared; `parts`: of a structure, its elements."""
  key: str
  parts: tuple['Term', ...] | None = None


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One tensor of a value that leaves a worker.

  Attributes:
    name: Its place in the value.
    kind: Type and shape.
    size: Bytes.
  """
  name: str
  kind: str
  size: int


def of_computation(digest: str) -> Term:
  return _term('computation', digest)


def of_call(function: Term, argument: Term | None) -> Term:
  return _term('call', function.key, '' if argument is None else argument.key)


def of_struct(elements: Sequence[tuple[str, Term]]) -> Term:
  """Returns the term of a structure of named values; the name '' is none."""
  parts = tuple(part for _, part in elements)
  return _term('struct', *(f'{name}={part.key}' for name, part in elements), parts=parts)


def of_selection(source: Term, index: int) -> Term:
  """Returns the term of one element; that of a structure's element is the element's own.

  Raises:
    ValueError: The structure has no such element.
  """
  if source.parts is None:
    return _term('selection', str(index), source.key)
  if not 0 <= index < len(source.parts):
    raise ValueError(f'a structure of {len(source.parts)} elements has no element {index}.')
  return source.parts[index]


def of_value(value: executor_pb2.Value) -> tuple[Term, tuple[str, ...]]:
  """Returns the term of a plain value, and the texts in it, which are names of data.

  Raises:
    ValueError: The value holds a program.
  """
  texts: list[str] = []
  return _of_value(value, texts), tuple(texts)


def leaves(value: executor_pb2.Value, name: str = '') -> Iterator[Leaf]:
  """Yields the tensors of a value, in order."""
  kind = value.WhichOneof('value')
  if kind == 'struct':
    for place, element in enumerate(value.struct.element):
      yield from leaves(element.value, f'{name}.{element.name or place}'.lstrip('.'))
  elif kind == 'federated':
    for place, member in enumerate(value.federated.value):
      yield from leaves(member, name if len(value.federated.value) == 1 else f'{name}[{place}]')
  elif kind == 'array':
    shape = ','.join(map(str, value.array.shape.dim))
    yield Leaf(name, f'{_dtype(value.array).lower()}[{shape}]', value.array.ByteSize())
  else:
    yield Leaf(name, kind or 'nothing', value.ByteSize())


def _of_value(value, texts):
  kind = value.WhichOneof('value')
  if kind == 'array':
    if value.array.dtype == data_type_pb2.DT_STRING:
      if value.array.content:
        raise ValueError('a value holds names in a form that is not read.')
      texts.extend(text.decode(errors='replace') for text in value.array.string_list.value)
    return _term('array', str(value.array.dtype), *map(str, value.array.shape.dim),
                 str(value.array.shape.unknown_rank))
  if kind == 'struct':
    return of_struct([(element.name, _of_value(element.value, texts)) for element in value.struct.element])
  if kind == 'federated':
    # Clients that differ in nothing but numbers count once: a cohort of any size has the same term.
    members = sorted({_of_value(member, texts).key for member in value.federated.value})
    return _term('federated', value.federated.type.SerializeToString(deterministic=True).hex(), *members)
  if kind == 'sequence' and value.sequence.WhichOneof('value') == 'serialized_graph_def':
    return _term('sequence', canonical.dataset(value.sequence.serialized_graph_def),
                 value.sequence.element_type.SerializeToString(deterministic=True).hex())
  raise ValueError('a value holds something else than numbers and names.')


def _dtype(array: array_pb2.Array) -> str:
  return data_type_pb2.DataType.Name(array.dtype).removeprefix('DT_')


def _term(*words: str, parts: tuple[Term, ...] | None = None) -> Term:
  text = '\0'.join([f'{len(word)}:{word}' for word in words])
  return Term(hashlib.sha256(text.encode()).hexdigest(), parts)


def clients_of(cardinalities: Sequence[executor_pb2.Cardinality]) -> int:
  """Returns the number of clients that an executor is asked for.

  Raises:
    ValueError: It is asked for something else.
  """
  found = 0
  if len(cardinalities) > 1:
    raise ValueError(f'an executor is asked for with {len(cardinalities)} numbers of participants.')
  for one in cardinalities:
    if one.placement.uri != 'clients' or one.cardinality < 0:
      raise ValueError(f'an executor has clients, and no {one.placement.uri} ({one.cardinality}).')
    found = one.cardinality
  return found
