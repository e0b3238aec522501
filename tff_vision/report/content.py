"""The content of report.json: the numbers of a finished run; `keys` says what each key holds."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, tasks
from tff_vision.learning import evaluation
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import loop, round_record
from tff_vision.report import declared


@dataclasses.dataclass
class Clock:
  """Times of events, in seconds of a monotonic clock, and the date.

  Attributes:
    export_seconds: The duration of the export and of its comparison with the federated state.
    date: When the process began; what clients do later does not change it.
  """
  started: float
  setup_ended: float = 0.0
  export_seconds: float = 0.0
  date: datetime.datetime = dataclasses.field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

  def setup_done(self) -> None:
    self.setup_ended = time.monotonic()

  @contextlib.contextmanager
  def exporting(self) -> Iterator[None]:
    """Measures the export of the model."""
    began = time.monotonic()
    yield
    self.export_seconds += time.monotonic() - began

  def seconds(self, outcome: loop.Outcome) -> dict[str, float]:
    """Returns the parts of the run's time up to now, which add up to `total`.

    Rounds of earlier processes of a resumed run are included; set-up and export are those of this process.
    """
    setup = self.setup_ended - self.started
    found = {'setup': setup, 'train': sum(record['seconds'] for record in outcome.history),
             'evaluate': sum(record.get('evaluation_seconds', 0.0) for record in outcome.history),
             'export': self.export_seconds}
    total = setup + outcome.earlier_seconds + time.monotonic() - self.setup_ended
    return {**found, 'other': max(0.0, total - sum(found.values())), 'total': total}


def build_report(config: configs.ExperimentConfig, *, task: tasks.Task, plan: plan_lib.PrivacyPlan,
                 outcome: loop.Outcome, evaluator: evaluation.Evaluator, clock: Clock, parity: float,
                 worker_pids: Sequence[int]) -> dict[str, Any]:
  """Returns everything that report.json may hold; evaluates the final weights if the loop has not.

  `released.report` decides which parts may be published.
  """
  outcome.weights.assign_weights_to(evaluator.model)
  final = outcome.evaluated or evaluator.evaluate(task.images.test)
  train_seconds = sum(record['seconds'] for record in outcome.history)
  images = task.images
  return {
      **described(config, task, evaluator.model),
      **final,
      'where_it_is_wrong': evaluator.mistakes(task.images.test),
      'unseen': evaluator.evaluate(images.unseen) if images.unseen is not None else None,
      'privacy': plan.final_ledger(len(outcome.history)).to_json(),
      'rounds': len(outcome.history),
      'seconds': clock.seconds(outcome),
      'examples_per_second': _examples_per_second(outcome.history, train_seconds),
      'peak_rss_mb': _peak_rss_mb(worker_pids),
      'export_parity': parity,
      'environment': environment(),
      'history': list(outcome.history),
  }


def described(config: configs.ExperimentConfig, task: tasks.Task, model: Any) -> dict[str, Any]:
  """Returns what a report holds before anything is trained: `config`, `dataset`, `augmentation`, `task`, `model`."""
  images = task.images
  varied = images.preprocessing.augmentation.words()
  return {
      'config': configs.readable(config),
      'dataset': {
          'name': images.name, 'num_clients': len(images.train),
          **({'num_train_examples': int(images.train.sizes.sum())}
             if images.train.counted else {}),
          'num_test_examples': len(images.test.examples), 'class_names': list(images.class_names),
          'image_shape': list(images.spec.shape), 'notes': list(images.notes)},
      **({'augmentation': '; '.join(varied)} if varied else {}),
      'task': declared.section(task.objective),
      'model': _model(config, task, model)}


def _model(config, task, model):
  trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
  name = config.model.model if isinstance(config.model.model, str) else model.name
  return {'name': name, 'parameters': model.count_params(), 'trained_parameters': trainable,
          'notes': list(task.notes)}


def traffic(history: Sequence[loop.RoundRecord], client: round_record.Traffic) -> dict[str, int]:
  """Returns the bytes per client in a round, and for the whole run if attendance is public."""
  rounds = [record['traffic'] for record in history if 'traffic' in record]
  totals = {f'{name}_total': sum(record[name] for record in rounds) for name in ('bytes_down', 'bytes_up')}
  return {'bytes_down_per_client_and_round': client.bytes_down, 'bytes_up_per_client_and_round': client.bytes_up,
          **(totals if rounds else {})}


def _examples_per_second(history, seconds):
  return sum(record.get('examples', 0) for record in history) / seconds if seconds else 0.0


def _peak_rss_mb(worker_pids):
  """Returns the sum of the peak memory of this process and its executors, in MB; each has its own peak."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  for pid in worker_pids:
    with open(f'/proc/{pid}/status') as status:
      peak += sum(int(line.split()[1]) / 1024 for line in status if line.startswith('VmHWM'))
  return peak


def environment() -> Mapping[str, Any]:
  """Returns the versions and the machine."""
  names = ('tensorflow', 'tensorflow-federated', 'numpy', 'dp-accounting')
  return {'python': platform.python_version(), 'platform': platform.platform(), 'cores': os.cpu_count(),
          **{name: importlib.metadata.version(name) for name in names}}
