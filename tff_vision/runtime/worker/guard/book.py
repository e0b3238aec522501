"""The values that an executor holds for a coordinator, by their handles: their terms, and what they are made of."""

import dataclasses
from collections.abc import Hashable, Sequence

from tff_vision.runtime.tff_internals import terms
from tff_vision.runtime.worker.guard import rules


@dataclasses.dataclass(frozen=True)
class Entry:
  """A value.

  Attributes:
    names: The names of data in the plain values that it is made of, up to results of calls.
    made_in: The numbers of the activities whose calls' results it is made of.
    function: Whether it is a computation.
    own: The values of the site's own in the plain values that it is made of, up to results of calls.
    seen, made_by: What a `witness.Witness` remembers of these plain values, and of the calls whose results are in it.
  """
  term: terms.Term
  names: tuple[str, ...] = ()
  made_in: frozenset[int] = frozenset()
  function: bool = False
  own: frozenset[tuple[str, Hashable]] = frozenset()
  seen: tuple[Hashable, ...] = ()
  made_by: frozenset[Hashable] = frozenset()


class Book:
  """The handles of one executor.

  Attributes:
    clients: The number of clients that it was made for.
    holders: How many times it was asked for and not given back; the executor counts in the same way.
  """

  def __init__(self, clients: int):
    self.clients = clients
    self.holders = 0
    self._entries: dict[str, Entry] = {}

  def put(self, handle: str, entry: Entry) -> None:
    self._entries[handle] = entry

  def get(self, handle: str) -> Entry:
    """Raises: Refused: There is no such value."""
    if handle not in self._entries:
      raise rules.Refused('a value is referred to that this worker does not hold for the caller.')
    return self._entries[handle]

  def drop(self, handles: Sequence[str]) -> None:
    for handle in handles:
      self._entries.pop(handle, None)

  def struct(self, elements: Sequence[tuple[str, str]]) -> Entry:
    """Returns the structure of (name, handle) pairs."""
    parts = [(name, self.get(handle)) for name, handle in elements]
    if any(part.function for _, part in parts):
      raise rules.Refused('a structure of computations was asked for.')
    return Entry(terms.of_struct([(name, part.term) for name, part in parts]),
                 tuple(one for _, part in parts for one in part.names),
                 frozenset().union(*(part.made_in for _, part in parts)),
                 own=frozenset().union(*(part.own for _, part in parts)),
                 seen=tuple(one for _, part in parts for one in part.seen),
                 made_by=frozenset().union(*(part.made_by for _, part in parts)))

  def selection(self, handle: str, index: int) -> Entry:
    """Returns one element; the names of the whole count for it, because they cannot be told apart."""
    source = self.get(handle)
    if source.function:
      raise rules.Refused('an element of a computation was asked for.')
    try:
      return dataclasses.replace(source, term=terms.of_selection(source.term, index))
    except ValueError as error:
      raise rules.Refused(str(error)) from None

  def called(self, function: str, argument: str | None) -> Entry:
    """Returns what a call gives, with what its argument is made of."""
    made, given = self.get(function), None if argument is None else self.get(argument)
    if not made.function or given is not None and given.function:
      raise rules.Refused('a call of something that is no computation, or with one as its argument.')
    if given is None:
      return Entry(terms.of_call(made.term, None))
    return dataclasses.replace(given, term=terms.of_call(made.term, given.term))
