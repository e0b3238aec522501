"""Who is shown the numbers that pass a guard: where an order says what may pass, numbers can still be wrong ones."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, runtime_checkable

from tensorflow_federated.proto.v0 import executor_pb2


@runtime_checkable
class Witness(Protocol):
  """Remembers numbers, and refuses wrong ones. Calls come from several threads; all raise `Refused` or `BeginAgain`."""

  def value(self, value: executor_pb2.Value) -> tuple[Hashable, ...]:
    """A plain value came; returns what is to be remembered of it."""

  def call(self, seen: Sequence[Hashable], names: Sequence[str], number: int) -> frozenset[Hashable]:
    """A computation is about to be called, and is the next in its order.

    Args:
      seen: What was remembered of the plain values in its argument.
      names: The names of data among them.
      number: Of the activity that the call belongs to.

    Returns:
      What is to be remembered of the result.
    """

  def leaves(self, made_by: frozenset[Hashable], answer: bytes, wanted: Callable[[], bool]) -> None:
    """A fetched value is about to leave; it may be held here.

    Args:
      made_by: What was remembered of the calls whose results are in it.
      answer: The serialized answer.
      wanted: Whether the caller still waits.
    """
