"""Runs of the real experiment on one budget: settled, killed, gone on with, refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests import built
from tests.documents import report_paths
from tff_vision import configs, data, experiment
from tff_vision.accounting import budget_file, gdp
from tff_vision.configs import budget_file_config

DELTA = 0.01
CONFIG = configs.ExperimentConfig(
    data=configs.DataConfig(dataset='digits', num_clients=2, partition='iid'),
    client=configs.ClientConfig(client_epochs=1),
    model=configs.ModelConfig(model='linear'), cohort=configs.CohortConfig(cohort_size=2, sampling='fixed'),
    privacy=configs.PrivacyConfig(privacy='local_dp', clip_norm=1.0, noise_multiplier=20.0, delta=DELTA),
    program=configs.ProgramConfig(rounds=3, rounds_per_evaluation=3))


def epsilon(turns):
  """Each of a client's turns moves its update by up to two clips."""
  return pytest.approx(gdp.epsilon(2 / 20 * turns ** 0.5, DELTA))


def test_what_runs_on_one_budget_are_charged(tmp_path):
  path = tmp_path / 'budget'
  budget = budget_file_config.BudgetFileConfig(
      budget_file=str(path), budget_epsilon=gdp.epsilon(2 / 20 * 8 ** 0.5, DELTA))
  spent = lambda: budget_file.BudgetFile(budget).totals().epsilon
  run = lambda name, **options: experiment.run(CONFIG, configs.LaunchConfig(
      run_dir=str(tmp_path / name), resume=(tmp_path / name).exists()), **options)

  seen = []
  run('one', budget=budget, on_start=lambda *_: seen.append(spent()), stop_requested=lambda: True)
  assert seen == [epsilon(3)] and spent() == epsilon(1)  # Reserved before the first round, settled after the only one.

  def lost(record):
    raise KeyError(record['round'])

  with pytest.raises(KeyError):
    run('two', budget=budget, on_round=lost)
  assert spent() == epsilon(1 + 3)  # It may go on.

  # Killed in its second round, and gone on with: that round is released twice. The budget need not be named again.
  with (tmp_path / 'one' / 'secret' / 'journal.jsonl').open('a') as journal:
    journal.write('{"begin": 2}\n')
  report = run('one').report
  assert not report_paths.undocumented(report)
  found = report['budget_file']
  assert found['epsilon'] == spent() == epsilon(4 + 3) and found['runs'] == 2 and found['file'] == str(path)

  with pytest.raises(ValueError, match=r'three does not fit: other runs on this data \(2\)'):
    run('three', budget=budget)
  assert not (tmp_path / 'three').exists() and spent() == epsilon(7)
  other = dataclasses.replace(budget, budget_file=str(tmp_path / 'other'))
  with pytest.raises(ValueError, match='this run was charged to .*budget; leave budget_file out'):
    run('two', budget=other)
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [next(iter(line)) for line in lines] == ['budget', 'reserve', 'settle', 'reserve', 'reserve', 'settle']


def test_clients_of_the_same_names_and_sizes_are_alike_only_if_they_have_the_same_examples():
  """An example's cost is that of its own client in each run, where it is known which that was."""
  def division(seed):
    made = dataclasses.replace(CONFIG, program=dataclasses.replace(CONFIG.program, seed=seed))
    task = built.task(made)
    return experiment.fingerprint(task.images).division, [
        task.images.train.num_examples(client) for client in range(len(task.images.train))]

  (one, sizes), (again, _), (other, others) = division(1), division(1), division(2)
  assert sizes == others and one == again and one != other

  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 255, (8, 4, 4)).astype(np.uint8), np.arange(8) % 2
  given = [experiment.fingerprint(data.from_arrays({'a': (x[:4], y[:4]), 'b': (x[4:], y[4:])}, test=(x, y)))
           for x in (x, x, x[::-1])]
  assert given[0] == given[1] and given[0].content == given[2].content and given[0].division != given[2].division
  unknown = dataclasses.replace(built.task(CONFIG).images, fingerprint={})
  assert experiment.fingerprint(unknown).division != experiment.fingerprint(unknown).division


@pytest.mark.ci
def test_a_copy_of_a_run_that_was_stopped_is_not_gone_on_with_beside_it(tmp_path):
  """Each would release its own rounds 2 and 3, and each charge replace the other's."""
  budget = budget_file_config.BudgetFileConfig(budget_file=str(tmp_path / 'budget'), budget_epsilon=100.0)
  experiment.run(CONFIG, configs.LaunchConfig(run_dir=str(tmp_path / 'one')), budget=budget,
                 stop_requested=lambda: True)
  shutil.copytree(tmp_path / 'one', tmp_path / 'copy')
  go_on = lambda name: experiment.run(CONFIG, configs.LaunchConfig(run_dir=str(tmp_path / name), resume=True))
  go_on('one')
  with pytest.raises(ValueError, match='run_dir=.*copy went on elsewhere, as run_dir=.*one: this folder is a copy'):
    go_on('copy')
  assert budget_file.BudgetFile(budget).totals().epsilon == epsilon(3)
