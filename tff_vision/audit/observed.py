"""What an audited run released, as far as its canaries can be seen in it: one line of JSON for each release.

The file is secret while the run lasts: it is no release, it is what an auditor keeps of releases. It outlives lost
checkpoints and killed processes, since a reader of a released model does not forget it either.
"""

import dataclasses
import json
import os
import pathlib
import threading
from collections.abc import Sequence

import numpy as np

from tff_vision import secret_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
  """One model, or one answer of a worker.

  Attributes:
    round_num: Of the run.
    shift: [canaries], how far the weights have moved in each canary's direction; in clip norms, if `scaled`.
    scaled: Whether a canary that took part has moved them by one.
    clients: How many clients' updates are in it.
    members: The clients whose work a worker's answer is; None of a model.
    contradictions: [canaries], how many more of a canary's weights cannot be what they are, had the noise been made of
      float32 numbers, if the canary did not take part than if it did; None: cannot be seen.
    told: How many examples clients told beside their updates, without those that everybody knows of; None: nothing.
  """
  round_num: int
  shift: np.ndarray
  scaled: bool
  clients: int
  members: tuple[int, ...] | None = None
  contradictions: np.ndarray | None = None
  told: float | None = None


class Observed:
  """The releases of a run, on disk; several threads may add some."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._lock = threading.Lock()

  def add(self, release: Release) -> None:
    """Appends a release; it is on disk when this returns."""
    line = json.dumps({name: value.tolist() if isinstance(value, np.ndarray) else value
                       for name, value in dataclasses.asdict(release).items()})
    with self._lock, secret_files.opened(self._path, 'a') as file:
      # A line that a crash has torn off is ended first, so that this one stands alone.
      file.write(f'\n{line}\n')
      file.flush()
      os.fsync(file.fileno())

  def releases(self) -> Sequence[Release]:
    """Returns all releases, in order."""
    lines = self._path.read_text().split('\n') if self._path.exists() else []
    return [found for line in lines if line and (found := _parsed(line)) is not None]


def _parsed(line):
  try:
    values = json.loads(line)
  except ValueError:
    return None
  for name in 'shift', 'contradictions':
    values[name] = None if values[name] is None else np.array(values[name], float)
  values['members'] = None if values['members'] is None else tuple(values['members'])
  return Release(**values)
