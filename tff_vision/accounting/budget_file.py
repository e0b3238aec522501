"""A budget over several runs on the same data: each run is charged to the file before it begins.

The file is a journal. Each line is a JSON object. Lines are only appended, under a lock, and are on disk before the
program continues. The first line states the budget and identifies the data. A run first *reserves* the most that all
of its rounds may cost, so that two runs that start together cannot both use a remainder that is enough for one. When
the run ends or stops, it *settles* its actual cost. A run that was killed stays charged for its reservation. The last
line of a run is its charge.

Charges are stored as privacy losses (see `losses`), not as epsilons, and are composed as losses.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hmac
import json
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tff_vision import wording
from tff_vision.accounting import budget_totals, privacy_losses
from tff_vision.accounting.conditions import Unit
from tff_vision.configs import budget_file_config

_VERSION = 1
_TORN = '#torn'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Identifies the data that a run learns from; see `fingerprint`.

  Attributes:
    name: Name of the data set.
    content: Distinguishes the data set from another one of the same name.
    division: Distinguishes one division into clients from another. Of `content` and `division`, the file stores only
      keyed digests, which can be compared only with access to the file.
  """
  name: str
  content: str
  division: str


def fingerprint(name: str, class_names: Sequence[str], clients: Sequence[tuple[str, int]], *, examples: str = ''
                ) -> Data:
  """Returns the identity of a data set and of its division into clients.

  Runs on any part of a data set, with any division into clients, are charged as runs on all of it.

  Args:
    clients: The name and the number of examples of each client.
    examples: Identifies the examples, because clients of the same names and sizes may have different examples.
  """
  return Data(name=name, content=repr((name, *class_names)), division=repr((list(clients), examples)))


@dataclasses.dataclass(frozen=True)
class Session:
  """One process that trains a run, from where an earlier one left it.

  Attributes:
    known: The names of all sessions in the run's journal; the last one is this one's. All but that of the first are
      random, so that two copies of a run have no later one in common.
  """
  known: Sequence[str]

  @property
  def name(self) -> str:
    """The name of this session."""
    return self.known[-1]


class BudgetFile:
  """The budget file that a config names."""

  def __init__(self, config: budget_file_config.BudgetFileConfig):
    """Args: `config.budget_file` must be set."""
    self._config = config
    self._path = pathlib.Path(config.budget_file)

  def reserve(self, run: str, data: Data, spent: privacy_losses.Spent | None, *, delta: float | None, label: str,
              session: Session | None = None) -> budget_totals.Totals:
    """Charges the most that a run may cost; this replaces its earlier charge.

    Args:
      run: Identifies the run; it is the same after an interruption.
      spent: The most that the run may cost in total, including its cost so far; None: it gives no guarantee.
      delta: The run's delta; a new file uses it, unless the config gives one.
      label: A description of the run, for a reader of the file.
      session: The process; None: the run has one only.

    Returns:
      The totals including this run.

    Raises:
      ValueError: The run exceeds the budget and is not charged, it went on in another folder, or the file cannot be
        used. The message gives the numbers.
    """
    if spent is None:
      raise ValueError(f'budget_file={self._path}: {label} promises no privacy, so no budget pays for it: choose '
                       '--privacy, or leave budget_file out.')
    with self._locked() as journal:
      header = journal.header or self._new_header(data, spent, delta)
      self._check(header, data, spent, label)
      entries = {**journal.entries}
      before = entries.pop(run, None)
      if before and session and before.get('session', session.name) not in session.known:
        # What was released there is in the other journal only, and this charge would replace it.
        raise ValueError(
            f'budget_file={self._path}: the run of {label} went on elsewhere, as {before["label"]}: this folder is a '
            'copy, or was brought back from a backup, and its journal lacks what was released there. Go on with that '
            'folder, or start a new run.')
      entries[run] = _entry('reserve', run, _keyed(header, data.division), spent, label, session)
      totals = _totals(header, entries)
      if not totals.epsilon <= totals.budget:
        del entries[run]
        others = _totals(header, entries).epsilon if entries else 0.0
        raise ValueError(
            f'budget_file={self._path}: {label} does not fit: other runs on this data ({len(entries)}) cost epsilon '
            f'{wording.at_most(others, ".4g")}, with it {wording.at_most(totals.epsilon, ".4g")}, '
            f'of {totals.budget:g} at delta {wording.at_most(totals.delta, ".3g")} for one '
            f'{totals.unit}; lower its cost (rounds, noise_multiplier, target_epsilon)'
            + (', or leave it where it stopped.' if before else '.'))
      if journal.header is None:
        journal.append(header)
      journal.append(entries[run])
      return totals

  def settle(self, run: str, data: Data, spent: privacy_losses.Spent, *, label: str, session: Session | None = None
             ) -> budget_totals.Totals:
    """Charges the actual cost of a run, which may be more or less than its reservation; returns the totals.

    Raises:
      ValueError: The file cannot be used.
    """
    with self._locked() as journal:
      if journal.header is None:
        raise ValueError(f'budget_file={self._path} holds no budget any more, to which {label} was charged.')
      entry = _entry('settle', run, _keyed(journal.header, data.division), spent, label, session)
      journal.append(entry)
      return _totals(journal.header, {**journal.entries, run: entry})

  def release(self, run: str) -> None:
    """Cancels the reservation of a run that has released nothing.

    Raises:
      ValueError: The file cannot be used.
    """
    with self._locked() as journal:
      if run in journal.entries:
        journal.append({'release': run, 'time': _now()})

  def totals(self) -> budget_totals.Totals:
    """Returns the totals of all runs so far.

    Raises:
      ValueError: The file cannot be used, or is empty.
    """
    with self._locked() as journal:
      if journal.header is None:
        raise ValueError(f'budget_file={self._path} holds no budget yet.')
      return _totals(journal.header, journal.entries)

  @contextlib.contextmanager
  def _locked(self) -> Iterator['_Journal']:
    if self._config.budget_epsilon is None and not self._path.exists():
      raise ValueError(f'budget_file={self._path} is new: say what all runs may cost together, with --budget_epsilon.')
    try:
      descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
      raise ValueError(f'budget_file={self._path} cannot be opened: {error.strerror}.') from None
    with open(descriptor, 'r+b', buffering=0) as file:
      if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # Such as /dev/null, which would forget what was spent.
        raise ValueError(f'budget_file={self._path} is no file: what runs cost must stay there.')
      fcntl.flock(file, fcntl.LOCK_EX)  # Waits; the holder of the lock only computes a total.
      yield _Journal(file, self._path)

  def _new_header(self, data, spent, delta):
    config = self._config
    if config.budget_epsilon is None:
      raise ValueError(f'budget_file={self._path} is new: say what all runs may cost together, with --budget_epsilon.')
    delta = delta if config.budget_delta is None else config.budget_delta
    if delta is None:
      raise ValueError(f'budget_file={self._path} is new: say at which delta, with --budget_delta.')
    header = {'budget': _VERSION, 'epsilon': config.budget_epsilon, 'delta': delta,
              'unit': config.budget_unit or spent.unit, 'dataset': data.name, 'salt': secrets.token_hex(16)}
    return {**header, 'data': _keyed(header, data.content)}

  def _check(self, header, data, spent, label):
    """Refuses a budget other than the file's, other data, and guarantees that do not cover the file's unit."""
    for name in ('epsilon', 'delta', 'unit'):
      wanted = getattr(self._config, f'budget_{name}')
      if wanted is not None and wanted != header[name]:
        raise ValueError(f'budget_file={self._path}: budget_{name}={wanted!r}, but the file was made with '
                         f'{header[name]!r}, and a budget is not changed; leave budget_{name} out.')
    if not hmac.compare_digest(header['data'], _keyed(header, data.content)):
      raise ValueError(f'budget_file={self._path} is the budget of another data set ({header["dataset"]}), and {label} '
                       f'is on {data.name}; give each data set a file of its own.')
    if header['unit'] == Unit.CLIENT and spent.unit == Unit.EXAMPLE:
      raise ValueError(f'budget_file={self._path} protects clients, and {label} promises privacy to examples alone, '
                       'which says nothing about a whole client; charge it to another file, with budget_unit=example.')


@dataclasses.dataclass
class _Journal:
  """The locked file: reads its entries and appends lines."""
  file: Any
  path: pathlib.Path
  header: Mapping[str, Any] | None = None
  entries: dict[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    text = self.file.read().decode(errors='replace')
    *lines, last = text.split('\n')
    if last:  # Cut off by a crash before its writer could continue: it does not count; end the line.
      self._write(_TORN + '\n')
    for number, line in enumerate(lines, 1):
      if not line.endswith(_TORN):
        self._take(line, number)

  def append(self, entry: Mapping[str, Any]) -> None:
    """Appends a line; the line is on disk when this returns.

    Raises:
      ValueError: It cannot be written.
    """
    self._write(json.dumps(entry) + '\n')

  def _write(self, text):
    try:
      whole = self.file.write(text.encode()) == len(text.encode())
      os.fsync(self.file.fileno())
      folder = os.open(self.path.parent, os.O_RDONLY)  # The directory entry of a new file must be on disk too.
      os.fsync(folder)
      os.close(folder)
    except OSError as error:
      raise ValueError(f'budget_file={self.path} cannot be written: {error.strerror}.') from None
    if not whole:
      raise ValueError(f'budget_file={self.path} cannot be written: the disk is full.')

  def _take(self, line, number):
    try:
      entry = json.loads(line)
      if self.header is None:
        self.header = _checked_header(entry)
      elif 'release' in entry:
        self.entries.pop(entry['release'], None)
      else:
        entry['losses'] = _spent_of(entry)
        self.entries[entry.get('settle') or entry['reserve']] = entry
    except (ValueError, KeyError, TypeError, AttributeError):
      # Skipping a line would omit a charge.
      raise ValueError(f'budget_file={self.path}: line {number} is no line of a budget; without it nobody knows what '
                       'was spent.') from None


def _entry(kind, run, division, spent, label, session):
  return {kind: run, **({} if session is None else {'session': session.name}), 'time': _now(), 'label': label,
          'unit': spent.unit, 'division': division,
          'kinds': [loss.to_json() for loss in spent.kinds], 'kind_of': list(spent.kind_of)}


def _spent_of(entry):
  found = privacy_losses.Spent(
      unit=Unit(entry['unit']), kinds=tuple(map(privacy_losses.Loss.from_json, entry['kinds'])),
      kind_of=tuple(entry['kind_of']))
  if (not found.kinds or not isinstance(entry['division'], str)
      or not set(found.kind_of) <= set(range(len(found.kinds))) or len(found.kinds) > 1 and not found.kind_of):
    raise ValueError('no charge.')
  return found


def _checked_header(entry):
  if (entry['budget'] != _VERSION or not entry['epsilon'] > 0 or not 0 < entry['delta'] < 1
      or entry['unit'] not in budget_file_config.UNITS or not {'dataset', 'data'} <= entry.keys()):
    raise ValueError('no header.')
  bytes.fromhex(entry['salt'])
  return entry


def _totals(header, entries):
  return budget_totals.total(header, [(entry['division'], entry.get('losses') or _spent_of(entry))
                                      for entry in entries.values()])


def _keyed(header, text):
  """Returns a keyed digest that reveals nothing to anyone without the file."""
  return hmac.new(bytes.fromhex(header['salt']), text.encode(), 'sha256').hexdigest()


def _now():
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
