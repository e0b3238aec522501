"""What an audited run released, as far as its canaries can be seen in it: one line of JSON for each release.

The file is secret while the run lasts: it is not a release but an auditor's record of releases. It is kept when
checkpoints are lost or processes are killed, since a reader of a released model does not forget the model either.
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
    round_num: The round of the run.
    shift: [canaries], how far the weights have moved in each canary's direction; in clip norms if `scaled`.
    scaled: Whether a canary that took part has moved the weights by one unit.
    clients: Number of clients whose updates are in the release.
    members: The clients whose work is in a worker's answer; None for a model.
    contradictions: [canaries], number of a canary's weights that float32 noise cannot produce if the canary took no
      part, minus the number that it cannot produce if the canary took part; None if this cannot be computed.
    told: Number of examples that clients report with their updates, minus the publicly known examples; None if the
      clients report none.
  """
  round_num: int
  shift: np.ndarray
  scaled: bool
  clients: int
  members: tuple[int, ...] | None = None
  contradictions: np.ndarray | None = None
  told: float | None = None


class Observed:
  """The releases of a run, on disk; several threads may add releases."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._lock = threading.Lock()

  def add(self, release: Release) -> None:
    """Appends a release; it is on disk when this returns."""
    line = json.dumps({name: value.tolist() if isinstance(value, np.ndarray) else value
                       for name, value in dataclasses.asdict(release).items()})
    with self._lock, secret_files.opened(self._path, 'a') as file:
      # A crash may have left an incomplete line; it is ended first, so that this one has its own line.
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
