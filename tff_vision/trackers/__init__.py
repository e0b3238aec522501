"""Trackers of experiments, as optional installs: what a run releases also goes to MLflow or Weights & Biases.

They are given released values only. A run whose times would tell who took part is told to them in one piece, when it
has ended, so that no time of a round is recorded. Unless their own environment variables say otherwise, nothing is
sent: they write to a folder on this machine.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tff_vision import catalogue, plugins

INSTALL = 'pip install --no-deps -r requirements-trackers.txt'
_PROJECT = 'tff_vision'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracked:
  """The run that a tracker is told of.

  Attributes:
    name: The name of its folder.
    project: The project or experiment in which the tracker lists it.
    folder: The folder for what is not sent to a server.
    settings: The settings of the run, by name.
    identity: What an earlier process of the same run was given by `Tracker.identity`; None: it is new.
    timeless: Whether no time may be recorded that follows from the rounds.
  """
  name: str
  folder: pathlib.Path
  settings: Mapping[str, Any]
  identity: str | None = None
  timeless: bool = False
  project: str = _PROJECT


class Tracker(Protocol):
  """A run in a tracker, open for writing.

  Attributes:
    identity: The tracker's name of the run, by which another process continues it.
  """
  identity: str

  def log(self, rounds: Mapping[int, Mapping[str, float]]) -> None:
    """Adds the numbers of rounds; rounds that the tracker already has are left out."""

  def end(self, results: Mapping[str, float], files: Sequence[pathlib.Path], *, finished: bool) -> None:
    """Adds the final numbers and files, and closes the run; `finished` is False if it was interrupted."""


def check(tracker: str) -> None:
  """Refuses a tracker whose package is not installed.

  Raises:
    ValueError: With the command that installs it.
  """
  if tracker != 'none' and not plugins.is_installed(tracker):
    raise ValueError(f'tracker={tracker} needs the package {tracker}, which is not installed: {INSTALL}.')


def begin(tracker: str, run: Tracked) -> Tracker:
  """Returns a run in the tracker of that name.

  Raises:
    ValueError: The tracker cannot be reached.
  """
  check(tracker)
  return catalogue.Loaded('tracker')[tracker](run)


def flat(record: Mapping[str, Any], prefix: str = '') -> dict[str, float]:
  """Returns the numbers of a nested record; a name is the path of its number, joined by slashes."""
  found = {}
  for name, value in record.items():
    if isinstance(value, Mapping):
      found |= flat(value, f'{prefix}{name}/')
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
      found[f'{prefix}{name}'] = float(value)
  return found
