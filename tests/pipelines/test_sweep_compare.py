"""pipelines.sweep killed and continued; pipelines.compare on what it leaves."""

import json
import math
import os
import signal
import time
import types

import pytest

from pipelines import search, sweep
from tests import forked
from tests.pipelines.conftest import TINY
from tff_vision import configs, plugins
from tff_vision.accounting import gdp, privacy_losses
from tff_vision.program import run_directory


@pytest.mark.ci
def test_a_killed_sweep_continues_and_finished_cells_are_not_run_again(run_pipeline, tmp_path):
  folder = tmp_path / 'sweep'
  arguments = [*TINY, '--rounds=2', f'--run_dir={folder}', '--grid=client_learning_rate=0.01,0.3;seed=0,1']
  first, last = (folder / f'client_learning_rate={cell}' / 'report.json' for cell in ('0.01,seed=0', '0.3,seed=1'))
  process = forked.Process(['-m', 'pipelines.sweep', *arguments], out=tmp_path / 'out', err=tmp_path / 'out')
  deadline = time.monotonic() + 200
  while not first.exists() and process.poll() is None and time.monotonic() < deadline:
    time.sleep(0.05)
  process.kill()
  process.wait()
  assert first.exists() and not last.exists()
  before = first.stat().st_mtime_ns
  deadline = time.monotonic() + 60  # The kernel ends the run that was under way; its folder is free then.
  while _in_use(folder) and time.monotonic() < deadline:
    time.sleep(0.2)
  done = run_pipeline('sweep', *arguments, '--parallel=2', timeout=400)
  assert done.code == 0, done.err
  assert first.stat().st_mtime_ns == before and '3 cells to run' in done.out
  found = json.loads((folder / 'sweep.json').read_text())
  assert [(row['runs'], row['seeds']) for row in found['groups']] == [(2, [0, 1]), (2, [0, 1])]
  assert found['best'] == 'client_learning_rate=0.3' and not found['unfinished']
  assert (folder / 'sweep.html').exists() and 'best by accuracy' in done.out

  done = run_pipeline('sweep', *arguments, '--batch_size=7')
  assert done.code == 1 and 'batch_size is 20 there and 7 here' in done.err
  done = run_pipeline('compare', *sorted(folder.glob('client*/')), f'--output={tmp_path / "c.html"}',
                      f'--json={tmp_path / "c.json"}')
  assert done.code == 0 and json.loads((tmp_path / 'c.json').read_text())['groups'] == found['groups']
  assert (tmp_path / 'c.html').read_text().count('<svg') >= 4


def _in_use(folder):
  return any('pipelines.train' in ' '.join(_arguments(pid)) and str(folder) in ' '.join(_arguments(pid))
             for pid in os.listdir('/proc') if pid.isdigit())


def _arguments(pid):
  try:
    with open(f'/proc/{pid}/cmdline') as line:
      return line.read().split('\0')
  except OSError:
    return []


@pytest.mark.ci
def test_every_cell_of_a_sweep_is_charged_and_one_that_does_not_fit_is_named(run_pipeline, tmp_path):
  """A client of every round moves its noised update by two clips of noise 20 (and 10): mu = sqrt(2) / 10 (and / 5)."""
  folder, budget = tmp_path / 'sweep', tmp_path / 'budget'
  arguments = [*TINY, '--model=linear', '--num_clients=3', '--rounds=2', '--privacy=local_dp', '--clip_norm=1',
               '--delta=0.01', '--noise_multiplier=30', f'--run_dir={folder}', f'--budget_file={budget}',
               '--grid=noise_multiplier=20,25,10']
  limit = gdp.epsilon((2 / 100 + 2 * (2 / 25) ** 2 + 1 / 100) ** 0.5, 0.01)
  done = run_pipeline('sweep', *arguments, f'--budget_epsilon={limit}')
  assert done.code == 1 and 'the first is noise_multiplier=10' in done.err, done.err
  assert 'noise_multiplier=10.0: failed: ' in done.out, done.out
  assert 'does not fit: other runs on this data (2)' in done.out
  lines = [json.loads(line) for line in budget.read_text().splitlines()]
  assert [next(iter(line)) for line in lines] == ['budget', 'reserve', 'settle', 'reserve', 'settle']
  found = json.loads((folder / 'sweep.json').read_text())
  assert found['budget_file']['runs'] == 2 and 'budget: 2 runs on this data cost epsilon' in done.out
  assert found['budget_file']['epsilon'] == pytest.approx(gdp.epsilon((2 / 100 + 2 * (2 / 25) ** 2) ** 0.5, 0.01))


@pytest.mark.ci
def test_the_best_of_a_random_number_of_runs_is_all_that_is_kept(run_pipeline, tmp_path):
  folder, budget = tmp_path / 'sweep', tmp_path / 'budget'
  arguments = [*TINY, '--model=linear', '--num_clients=3', '--rounds=2', '--privacy=local_dp', '--clip_norm=1',
               '--delta=0.01', '--noise_multiplier=30', f'--run_dir={folder}', '--grid=noise_multiplier=20,25',
               '--random_runs=1.3']
  done = run_pipeline('sweep', *arguments, f'--budget_file={budget}', '--budget_epsilon=9', timeout=400)
  assert done.code == 0, done.err
  assert sorted(path.name for path in folder.iterdir()) == ['export', 'sweep.json']
  assert (folder / 'export' / 'model.keras').exists()
  found = json.loads((folder / 'sweep.json').read_text())
  once = privacy_losses.Spent(unit='client', kinds=(privacy_losses.Loss(event=gdp.event(2 / 20 * 2 ** 0.5)),))
  expected = privacy_losses.Composition(privacy_losses.best_of_random_runs([once], 1.3).kinds).epsilon(0.01)
  assert found['privacy']['epsilon'] == pytest.approx(expected) == found['budget_file']['epsilon']
  # Whoever reads updates sees every run, so the choice promises nothing against the server.
  assert found['privacy']['relation'] == 'replace one client' and found['privacy']['rounds'] == 2
  assert found['privacy']['accountant'] == 'RDP, best of a random number of runs of mean 1.3'
  stated = math.ceil(1000 * found['privacy']['epsilon']) / 1000
  assert found['budget_file']['runs'] == 1 and f'costs epsilon {stated:.3f}' in done.out
  assert found['chosen']['noise_multiplier'] in (20, 25) and 'done' not in done.out
  done = run_pipeline('sweep', *arguments)
  assert done.code == 1 and 'is not empty' in done.err


def test_a_choice_that_is_ended_leaves_none_of_its_runs(run_pipeline, tmp_path):
  folder = tmp_path / 'sweep'
  arguments = [*TINY, '--model=linear', '--num_clients=3', '--rounds=200', '--privacy=local_dp', '--clip_norm=1',
               '--delta=0.01', '--noise_multiplier=30', f'--run_dir={folder}', '--grid=noise_multiplier=20,25',
               '--random_runs=5']
  process = forked.Process(['-m', 'pipelines.sweep', *arguments], out=tmp_path / 'out', err=tmp_path / 'out')
  deadline = time.monotonic() + 200
  while not list(folder.glob('hidden-*/*')) and process.poll() is None and time.monotonic() < deadline:
    time.sleep(0.05)
  assert list(folder.glob('hidden-*/*')), (tmp_path / 'out').read_text()
  os.kill(process.pid, signal.SIGTERM)
  process.wait()
  assert not list(folder.iterdir()) and not _in_use(folder)
  (folder / 'hidden-killed').mkdir()
  done = run_pipeline('sweep', *arguments)
  assert done.code == 1 and 'hidden-killed is what a choice that was killed has left' in done.err


def test_the_grid_may_give_what_an_experiment_needs_and_the_only_cell_is_named_by_it(run_pipeline, tmp_path):
  done = run_pipeline('sweep', *TINY, '--model=linear', '--rounds=1', '--privacy=local_dp', '--clip_norm=1',
                      f'--run_dir={tmp_path / "sweep"}', '--grid=noise_multiplier=20')
  assert done.code == 0, done.err
  assert 'best by accuracy on the test set: noise_multiplier=20.0\n' in done.out
  assert json.loads((tmp_path / 'sweep' / 'sweep.json').read_text())['best'] == 'noise_multiplier=20.0'
  done = run_pipeline('sweep', *TINY, '--privacy=local_dp', f'--run_dir={tmp_path / "none"}',
                      '--grid=noise_multiplier=1..9', '--random=2')
  assert done.code == 1 and done.err.startswith('sweep: error: clip_norm is missing'), done.err


def test_mistakes_are_one_sentence(run_pipeline, tmp_path):
  place = f'--run_dir={tmp_path / "none"}'
  for arguments, named in (
      ([place], 'grid'), (['--grid=rounds=1'], 'run_dir'), ([place, '--grid=nonsense=1'], 'nonsense'),
      ([place, '--grid=rounds=1', '--parallel=0'], 'parallel'),
      ([place, '--grid=task=classification,embedding'], 'task=classification and embedding'),
      ([place, '--grid=client_epochs=1,2', '--tpe=3', '--halving=3'], 'tpe does not go with halving'),
      ([place, '--grid=client_epochs=1,2', '--halving=3', '--random_runs=2'], 'random_runs does not go with halving'),
      ([place, '--grid=client_epochs=1,2,3', '--halving=3', '--rounds=10'], 'rounds_per_evaluation'),
      *([] if plugins.is_installed('wandb') else [([place, '--grid=seed=1,2', '--tracker=wandb'], 'tracker=wandb')]),
      ([place, '--grid=seed=1,2', '--tpe=3'], 'seed'), ([place, '--grid=rounds=1', '--stop_after=3'], 'stop_after')):
    done = run_pipeline('sweep', *arguments)
    assert done.code == 1 and named in done.err and len(done.err.strip().splitlines()) == 1, done.err
  assert not (tmp_path / 'none').exists()
  done = run_pipeline('compare')
  assert done.code == 1 and 'run directory' in done.err


def test_a_sweep_wipes_cells_that_do_not_go_on(tmp_path):
  private = configs.ExperimentConfig(
      privacy=configs.PrivacyConfig(privacy='local_dp', noise_multiplier=1.0, clip_norm=1.0))
  made = [types.SimpleNamespace(name=name, config=config) for name, config in (
      ('finished', private), ('stopped', private), ('early', private), ('open', configs.ExperimentConfig()))]
  for cell in made:
    directory = run_directory.RunDirectory(tmp_path / cell.name)
    with directory.opened(cell.config, b'1' * 32):
      if cell.name not in ('stopped', 'early'):
        directory.report_json.write_text('{}')
  sweep._wipe(tmp_path, search.Swept(made, {'early': 1}))
  assert {cell.name: (tmp_path / cell.name / 'secret').exists() for cell in made} == {
      'finished': False, 'stopped': True, 'early': False, 'open': True}
  sweep._wipe(tmp_path, search.Swept(made, {'early': 1}))
  assert not (tmp_path / 'early' / 'secret').exists()
