"""What goes with which algorithm: the table, the refusals that read it, the page and the rounds that show it."""

import pathlib

import numpy as np
import pytest

from tests.learning.composed import Run
from tff_vision import configs
from tff_vision.configs import compatibility, privacy_config, runtime_config, secure_config, training_config
from tff_vision.runtime.driver import remote

CHOICES = [(algorithm, column, choice) for algorithm in compatibility.REFUSED
           for column, choices in compatibility.COLUMNS.items() for choice in choices]
COHORTS = [[0, 1, 3], [1, 2]]


def _config(algorithm, choice):
  """Returns an experiment with that algorithm and that choice, if it is legal."""
  name, value = choice.split('=')
  buffered = algorithm == 'fedbuff'
  sampling = 'poisson' if name == 'privacy' and value.startswith('client') and not buffered else 'fixed'
  privacy = {} if name != 'privacy' else {'privacy': value, 'clip_norm': 1.0, 'noise_multiplier': 1.0}
  secure = {} if name != 'secure_sum' else {'secure_sum': value}
  return configs.ExperimentConfig(
      algorithm=configs.AlgorithmConfig(algorithm=algorithm), privacy=configs.PrivacyConfig(**privacy),
      client=configs.ClientConfig(client_epochs=1 if algorithm == 'fedsgd' else 2), secure=configs.SecureConfig(
          key_holder_dir='keys' if value == 'he_keyholder' else None, **secure),
      cohort=configs.CohortConfig(sampling=sampling, over_selection=1.5 if buffered else 1.0))


def test_the_table_knows_every_algorithm_and_every_choice():
  assert set(compatibility.REFUSED) == set(training_config.ALGORITHMS)
  assert all(set(row) <= set(compatibility.COLUMNS) for row in compatibility.REFUSED.values())
  known = {choice for choices in compatibility.COLUMNS.values() for choice in choices}
  assert known == {f'privacy={name}' for name in privacy_config.PRIVACIES if name != 'none'} | {
      f'secure_sum={name}' for name in secure_config.SECURE_SUMS if name != 'none'} | {
          'runtime=workers', 'data_placement=worker'}


@pytest.mark.parametrize(('algorithm', 'column', 'choice'), CHOICES, ids=str)
def test_what_the_table_refuses_is_refused_with_its_reason(algorithm, column, choice):
  reason = compatibility.REFUSED[algorithm].get(column)
  if column in ('remote workers', 'data on workers'):
    check = lambda: compatibility.check(algorithm, choice)
  else:
    check = lambda: _config(algorithm, choice)
  if reason is None:
    check()
    return
  with pytest.raises(ValueError) as error:
    check()
  assert str(error.value) == f'algorithm={algorithm} does not go with {choice}: {reason}.'


def test_the_page_shows_the_table():
  page = (pathlib.Path(__file__).parent.parent / 'docs' / 'reference' / 'algorithms.md').read_text()
  rows = [line.strip('| ').split(' | ') for line in page.splitlines() if line.startswith('|')]
  shown = {row[0].strip('`'): row[1:] for row in rows if len(row) == 1 + len(compatibility.COLUMNS)}
  assert shown.pop('algorithm') == list(compatibility.COLUMNS)
  assert shown == {algorithm: ['no' if column in refused else 'yes' for column in compatibility.COLUMNS]
                   for algorithm, refused in compatibility.REFUSED.items()}
  for reason in {reason for refused in compatibility.REFUSED.values() for reason in refused.values()}:
    assert reason in ' '.join(page.split()), reason


# One algorithm of each kind of composition: two quantities sent, a server that reads who took part, one number more.
@pytest.mark.parametrize(('algorithm', 'mode'), [('scaffold', 'masks'), ('feddyn', 'he_keyholder'), ('fednova', 'he')])
def test_hidden_sums_lead_to_the_same_model(tff_runtime, tmp_path, algorithm, mode):
  runs = [Run(algorithm, folder=tmp_path / 'plain'),
          Run(algorithm, folder=tmp_path / 'hidden', secure=mode, place=tff_runtime)]
  plain, hidden = (run.train(COHORTS) for run in runs)
  assert 0 < np.abs(hidden - plain).max() < 2e-3
  # So do their metrics, whose sums have no rounding but that of a loss.
  measured = [run.measured for run in runs]
  assert list(measured[0]) == list(measured[1]) == ['loss', 'accuracy', 'num_examples']
  for name in measured[0]:
    assert measured[1][name] == pytest.approx(measured[0][name], abs=2e-3 if name == 'loss' else 0)


def test_workers_lead_to_the_same_model_from_data_that_they_hold(tff_runtime, tmp_path):
  for folder in ('plain', 'workers'):
    (tmp_path / folder).mkdir()
  plain = Run('scaffold', folder=tmp_path / 'plain').train(COHORTS)
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=2, data_placement='worker',
                                        worker_data_dir=str(tmp_path))
  with remote.remote_runtime(config) as runtime:
    found = Run('scaffold', folder=tmp_path / 'workers', data_on_workers=True).train(COHORTS, runtime)
  np.testing.assert_allclose(found, plain, atol=1e-5)
