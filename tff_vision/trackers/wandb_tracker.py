"""Weights & Biases: offline, to files that `wandb sync` uploads, unless WANDB_MODE says otherwise.

What the client adds by itself is switched off: console output, the state of the machine, the code, the repository.
"""

import math
import os
import pathlib
import secrets
from collections.abc import Mapping, Sequence

from tff_vision import trackers

_SETTINGS = {'console': 'off', 'silent': True, 'disable_code': True, 'disable_git': True, 'disable_job_creation': True,
             'x_disable_stats': True, 'x_disable_meta': True, 'x_disable_machine_info': True,
             'x_save_requirements': False}


class WandbTracker:
  """A run in Weights & Biases; see `trackers.Tracker`."""

  def __init__(self, run: trackers.Tracked):
    """Begins the run, or opens it again.

    Raises:
      ValueError: The server cannot be reached.
    """
    import wandb
    self.identity = run.identity or secrets.token_hex(5)
    run.folder.mkdir(parents=True, exist_ok=True)
    mode = os.environ.get('WANDB_MODE', 'offline')
    try:
      self._run = wandb.init(
          project=os.environ.get('WANDB_PROJECT', run.project), dir=str(run.folder), id=self.identity,
          resume=None if mode == 'offline' else 'allow', name=run.name, mode=mode, config=dict(run.settings),
          settings=wandb.Settings(**_SETTINGS))
    except (wandb.Error, OSError) as error:
      raise ValueError(f'tracker=wandb cannot begin a run: {error}') from error

  def log(self, rounds: Mapping[int, Mapping[str, float]]) -> None:
    """Adds the numbers of rounds; rounds that the tracker already has are left out."""
    for step, numbers in sorted(rounds.items()):
      if step >= self._run.step:
        self._run.log({name: value for name, value in numbers.items() if math.isfinite(value)}, step=step)

  def end(self, results: Mapping[str, float], files: Sequence[pathlib.Path], *, finished: bool) -> None:
    """Adds the final numbers and files, and closes the run; `finished` is False if it was interrupted."""
    self._run.summary.update({f'final/{name}': value for name, value in results.items()})
    for path in files:
      self._run.save(str(path), base_path=str(path.parent), policy='now')
    self._run.finish(exit_code=0 if finished else 1)
