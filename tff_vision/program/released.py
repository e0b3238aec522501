"""Decides what a run releases to reports, metrics and events under its privacy promise.

Under differential privacy, a record and the report hold noised values, values that follow from the settings or from
test images, and values that the mechanism treats as public. Public values are the participants, if the privacy cost
does not depend on random sampling, and the number of each client's examples under `example_dp_sgd`. No other value is
released exactly, because times and memory reveal how many clients a round had and how much data. A secure sum without
noise releases the sum, but no value of a single client.
"""

from collections.abc import Mapping
from typing import Any

from tff_vision import configs
from tff_vision.accounting import ledger
from tff_vision.data import images
from tff_vision.privacy import plan as plan_lib

Record = Mapping[str, Any]

# Released fields of a round under differential privacy; all other fields stay in the checkpoints.
# `validation` is there only if it has noise of its own.
_COVERED = ('round', 'evaluation', 'per_client', 'privacy', 'noised', 'attendance', 'validation')
_OF_ATTENDANCE = ('dropped_clients', 'faults')
_KEPT = ('elapsed',)  # Of the process and not of the round; a report has the sums.
_EXACT = ('examples_per_second', 'peak_rss_mb')


def record(found: Record, plan: plan_lib.PrivacyPlan) -> Record:
  """Returns the part of a round's record that may be released."""
  if plan.releases_exact_metrics:
    return {name: value for name, value in found.items() if name not in _KEPT}
  told = _COVERED if plan.hides_attendance else (*_COVERED, *_OF_ATTENDANCE)
  return {name: value for name, value in found.items() if name in told}


def report(content: Mapping[str, Any], config: configs.ExperimentConfig, plan: plan_lib.PrivacyPlan, *,
           show_training_data: bool) -> dict[str, Any]:
  """Returns the part of a finished run's report that may be released in report.json.

  Args:
    content: The whole report.
    config: The config of the run.
    plan: The privacy plan of the run.
    show_training_data: The user chose to show the images, their classes and counts of them, although no privacy promise
      covers these.
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
  """Returns whether a page of this report may show the clients' images and classes.

  Old reports do not say so; for these it depends on the promises of the run.
  """
  return content.get('training_data_shown', not _promises(content))


def client_sizes_are_public(content: Mapping[str, Any]) -> bool:
  """Returns whether the number of each client's training examples may be released with this report."""
  return training_data_shown(content) or bool(ledger.of_report(content).per_client)


def coarse(number: float) -> float:
  """Rounds `number` up to the next of 0.1, 0.2, 0.5, 1, 2, 5, ...; this is exact enough to plan further runs."""
  step = 0.1
  while True:
    for factor in 1, 2, 5:
      if number <= factor * step:
        return round(factor * step, 1)
    step *= 10


def _promises(content):
  hides = (content.get('secure_sum') or {}).get('mode', 'none') != 'none'
  return hides or isinstance(ledger.of_report(content), ledger.Ledger)
