"""The log of everything that a guard was asked for: one JSON line a call, each with the digest of the line before.

A line that is changed, removed or put in breaks the chain. The log is also what a guard counts from: what began is on
disk before it begins. A last line that a crash cut off is removed; nothing had passed yet.
"""

import collections
import datetime
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

_FIRST = '0' * 64
_NAMED = {'approval': 'approval', 'begins': 'activity'}  # What is counted -> what it is counted for.


class Log:
  """An open log; one process has it."""

  def __init__(self, path: pathlib.Path, approval: str, *, key: str | None = None):
    """Opens or creates the log.

    Args:
      approval: The digest of the approval; what earlier approvals let pass is kept and not counted.
      key: The digest of the key that the log is about, if it is about one.

    Raises:
      ValueError: The log was changed, cannot be written, or another process has it.
    """
    self._path = path
    self._lock = threading.Lock()
    self._approval: str | None = None
    self._begun: collections.Counter[tuple[str | None, str]] = collections.Counter()
    self._bytes: collections.Counter[str | None] = collections.Counter()
    self._last: collections.Counter[str] = collections.Counter()
    self._before = _FIRST
    self._file = self._open()
    for entry in self._read():
      self._count(entry)
    try:
      self.write('approval', approval=approval, key=key)
    except OSError as error:
      raise ValueError(f'audit_log={path} cannot be written: {error.strerror}.') from None

  @property
  def bytes_out(self) -> int:
    """The bytes that have left under this approval."""
    return self._bytes[self._approval]

  def begun(self, activity: str) -> int:
    """Returns how many times an activity has begun under this approval."""
    return self._begun[self._approval, activity]

  def last(self, activity: str) -> int:
    """Returns the highest number with which an activity has begun, under any approval; 0: there is none."""
    return self._last[activity]

  def begin(self, activity: str, number: int | None = None) -> None:
    """Says that an activity begins; it is on disk when this returns.

    Args:
      number: Of this time, where whoever asks for it numbers them.

    Raises:
      OSError: It cannot be written.
    """
    self.write('begins', activity=activity, number=number)
    os.fsync(self._file.fileno())

  def write(self, what: str, /, *, activity: str | None = None, approval: str | None = None, key: str | None = None,
            number: int | None = None, bytes_in: int | None = None, bytes_out: int | None = None,
            seconds: float | None = None, refused: str | None = None) -> None:
    """Appends a line.

    Args:
      what: The call, or 'begins' or 'approval'.
      key: Of what is called, fetched or sent; of a message, its protocol and phase.
      refused: Why it did not pass.

    Raises:
      OSError: It cannot be written.
    """
    given = {'activity': activity, 'approval': approval, 'key': key, 'number': number,
             'bytes_in': bytes_in, 'bytes_out': bytes_out, 'seconds': seconds, 'refused': refused}
    with self._lock:
      entry = {'time': datetime.datetime.now(datetime.UTC).isoformat(timespec='milliseconds'), 'what': what,
               **{name: value for name, value in given.items() if value is not None}, 'before': self._before}
      line = json.dumps(entry, separators=(',', ':'))
      self._append(line.encode() + b'\n')
      self._before = hashlib.sha256(line.encode()).hexdigest()
      self._count(entry)

  def close(self) -> None:
    self._file.close()

  def _count(self, entry: Mapping[str, Any]):
    if entry['what'] == 'approval':
      self._approval = entry['approval']
    elif entry['what'] == 'begins':
      self._begun[self._approval, entry['activity']] += 1
      self._last[entry['activity']] = max(self._last[entry['activity']], entry.get('number', 0))
    elif entry['what'] == 'attempt':  # As earlier versions wrote what has begun with a number.
      self._last[entry['key']] = max(self._last[entry['key']], entry['number'])
    elif entry['what'] == 'Compute':
      self._bytes[self._approval] += entry.get('bytes_out', 0)

  def _append(self, line: bytes):
    """Writes the whole line, or nothing: what a full disk cuts off would break the chain for the lines after it."""
    end = os.fstat(self._file.fileno()).st_size
    if self._file.write(line) < len(line):
      os.ftruncate(self._file.fileno(), end)
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  def _open(self):
    try:
      file = open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 'ab', buffering=0)
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Before it is read: two would each count the other's less.
      return file
    except BlockingIOError:
      raise ValueError(f'audit_log={self._path} is in use by another process, and what is counted is counted once: '
                       'stop that one, or give each its own log.') from None
    except OSError as error:
      raise ValueError(f'audit_log={self._path} cannot be written: {error.strerror}.') from None

  def _read(self):
    whole, cut_off = _lines(self._path)
    if cut_off:
      os.truncate(self._path, len(whole))
    entries, self._before = verified(whole, self._path)
    return entries


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the entries of a log that a guard may be writing; a missing one is empty.

  Raises:
    ValueError: As `verified`.
  """
  return verified(_lines(path)[0], path)[0]


def verified(content: bytes, path: pathlib.Path) -> tuple[list[dict[str, Any]], str]:
  """Returns the entries of a log, and the digest that the next line holds.

  Raises:
    ValueError: A line was changed, removed or put in; the sentence says which.
  """
  entries, before = [], _FIRST
  for number, line in enumerate(content.splitlines(), 1):
    try:
      entry = json.loads(line)
      if entry['before'] != before or not isinstance(entry['time'] + entry[_NAMED.get(entry['what'], 'what')], str):
        raise ValueError
    except (ValueError, KeyError, TypeError):
      raise ValueError(f'audit_log={path}: line {number} does not follow from the line before it; the log was '
                       'changed.') from None
    entries.append(entry)
    before = hashlib.sha256(line).hexdigest()
  return entries, before


def _lines(path):
  """Returns the whole lines of a log, and whether more stands behind them."""
  content = path.read_bytes() if path.exists() else b''
  whole = content[:content.rfind(b'\n') + 1]
  return whole, len(whole) < len(content)
