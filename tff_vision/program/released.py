"""Decides what a run releases to reports, metrics and events under its privacy promise.

Under differential privacy a record and the report hold what is noised, what follows from the settings or from test
images, and what the mechanism counts as public: who took part where its cost does not rest on chance, the number of a
client's examples under `example_dp_sgd`. Nothing else is told exactly: times and memory tell how many clients a round
had, and how much data. A hidden sum without noise tells the sum; what single clients hold stays untold.
"""

from collections.abc import Mapping
from typing import Any

from tff_vision import configs
from tff_vision.accounting import ledger
from tff_vision.data import images
from tff_vision.privacy import plan as plan_lib

Record = Mapping[str, Any]

# Of a round under differential privacy; what is not named here stays in the checkpoints.
_COVERED = ('round', 'evaluation', 'per_client', 'privacy', 'noised', 'attendance')
_OF_ATTENDANCE = ('dropped_clients', 'faults')
_EXACT = ('examples_per_second', 'peak_rss_mb')


def record(found: Record, plan: plan_lib.PrivacyPlan) -> Record:
  """Returns what may be told of a round."""
  if plan.releases_exact_metrics:
    return found
  told = _COVERED if plan.hides_attendance else (*_COVERED, *_OF_ATTENDANCE)
  return {name: value for name, value in found.items() if name in told}


def report(content: Mapping[str, Any], config: configs.ExperimentConfig, plan: plan_lib.PrivacyPlan, *,
           show_training_data: bool) -> dict[str, Any]:
  """Returns what may be told of a finished run, of all that report.json could hold.

  Args:
    show_training_data: The user shows images, class mix and what was counted in them although no promise covers it.
  """
  content = {**content, 'training_data_shown': show_training_data or not config.promises,
             'history': [record(entry, plan) for entry in content['history']]}
  if not content['training_data_shown']:
    content['dataset'] = {**content['dataset'], 'notes': [
        note for note in content['dataset']['notes'] if not isinstance(note, images.Counted)]}
  if plan.releases_exact_metrics:
    return content
  if not client_sizes_are_public(content):
    content['dataset'].pop('num_train_examples', None)
  return {**{name: value for name, value in content.items() if name not in _EXACT},
          'seconds': {name: coarse(value) for name, value in content['seconds'].items()}}


def training_data_shown(content: Mapping[str, Any]) -> bool:
  """Returns whether a page of this report may show the clients' images and classes; of an old one, by its promises."""
  return content.get('training_data_shown', not _promises(content))


def client_sizes_are_public(content: Mapping[str, Any]) -> bool:
  """Returns whether the number of each client's training examples may be told beside this report."""
  return training_data_shown(content) or bool(ledger.of_report(content).per_client)


def coarse(number: float) -> float:
  """Returns the next of 1, 2, 5, 10, 20, 50, ... tenths that is not below `number`: enough to plan a day by."""
  step = 0.1
  while True:
    for factor in 1, 2, 5:
      if number <= factor * step:
        return round(factor * step, 1)
    step *= 10


def _promises(content):
  hides = (content.get('secure_sum') or {}).get('mode', 'none') != 'none'
  return hides or isinstance(ledger.of_report(content), ledger.Ledger)
