"""MLflow: to the server of MLFLOW_TRACKING_URI, else to files."""

import math
import os
import pathlib
import time
from collections.abc import Mapping, Sequence

from tff_vision import trackers

_ROUND = 'round'
_MOMENT = 1  # MLflow takes 0 for «now».
_BATCH = 900  # A call takes up to 1,000 numbers.
_LONGEST = 6000  # Of a parameter, in characters.


class MlflowTracker:
  """A run in MLflow; see `trackers.Tracker`."""

  def __init__(self, run: trackers.Tracked):
    """Begins the run, or opens it again.

    Raises:
      ValueError: The server cannot be reached.
    """
    import mlflow
    self._timeless = run.timeless
    where = os.environ.get('MLFLOW_TRACKING_URI') or (run.folder.resolve() / 'mlruns').as_uri()
    try:
      self._client = mlflow.MlflowClient(tracking_uri=where)
      if run.identity is None:
        self.identity = self._begun(run)
      else:
        self.identity = run.identity
        self._client.update_run(self.identity, status='RUNNING')
    except Exception as error:  # Each store of MLflow raises errors of its own.
      raise ValueError(f'tracker=mlflow cannot write to {where}: {str(error).splitlines()[0]}') from error

  def _begun(self, run):
    found = self._client.get_experiment_by_name(run.project)
    experiment = self._client.create_experiment(run.project) if found is None else found.experiment_id
    begun = self._client.create_run(experiment, run_name=run.name, start_time=self._now()).info.run_id
    for name, value in run.settings.items():
      self._client.log_param(begun, name, str(value)[:_LONGEST])
    return begun

  def _now(self):
    return _MOMENT if self._timeless else int(1000 * time.time())

  def log(self, rounds: Mapping[int, Mapping[str, float]]) -> None:
    """Adds the numbers of rounds; rounds that the tracker already has are left out."""
    from mlflow.entities import Metric
    had = {point.step for point in self._client.get_metric_history(self.identity, _ROUND)}
    points = [Metric(name, value, self._now(), step) for step, numbers in rounds.items() if step not in had
              for name, value in {**numbers, _ROUND: float(step)}.items() if math.isfinite(value)]
    for first in range(0, len(points), _BATCH):
      self._client.log_batch(self.identity, metrics=points[first:first + _BATCH])

  def end(self, results: Mapping[str, float], files: Sequence[pathlib.Path], *, finished: bool) -> None:
    """Adds the final numbers and files, and closes the run; `finished` is False if it was interrupted."""
    for name, value in results.items():
      if math.isfinite(value):
        self._client.log_metric(self.identity, f'final/{name}', value, timestamp=self._now())
    for path in files:
      self._client.log_artifact(self.identity, str(path))
    self._client.set_terminated(self.identity, 'FINISHED' if finished else 'KILLED', end_time=self._now())
