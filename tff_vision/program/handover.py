"""Yields the rounds of a run one at a time, while the loop runs in another thread."""

import queue
from collections.abc import Iterator
from typing import Any

_END = object()


class Handover:
  """Passes records from a training thread to a loop that iterates over them."""

  def __init__(self):
    self._records: queue.Queue[Any] = queue.Queue()
    self._wanted: queue.Queue[bool] = queue.Queue()
    self._stop = False

  def give(self, record: Any) -> None:
    """Called by the training thread with a round's record."""
    self._records.put(record)

  def stopped(self) -> bool:
    """Called by the training thread after `give`: waits until the loop asks for another round or has ended.

    Returns:
      Whether the loop has ended.
    """
    return self._stop or not self._wanted.get()

  def finish(self) -> None:
    """Called when the training has ended, with or without an error."""
    self._records.put(_END)

  def stop(self) -> None:
    """Called when the loop has ended."""
    self._stop = True
    self._wanted.put(False)

  def __iter__(self) -> Iterator[Any]:
    while (record := self._records.get()) is not _END:
      yield record
      self._wanted.put(True)
