"""pipelines.train as a person uses it: the run directory, resuming after kill -9 at any moment, Ctrl-C."""

import csv
import json
import math
import re
import shutil
import signal
import time

import dp_accounting
import numpy as np
import psutil
import pytest
import tensorflow as tf

from pipelines import train
from tests import forked
from tests.documents import report_paths
from tests.pipelines.conftest import TINY
from tff_vision import configs
from tff_vision.aggregation import secured
from tff_vision.privacy import plan as plan_lib
from tff_vision.studies.control import policy_process as control_process


def weights(run_dir):
  return tf.keras.models.load_model(run_dir / 'export' / 'model.keras', compile=False).get_weights()


def test_a_run_leaves_everything_a_user_needs(trained):
  folder, done = trained
  report = json.loads((folder / 'report.json').read_text())
  assert json.loads(folder.with_name('trained.json').read_text()) == report
  assert not report_paths.undocumented(report)
  assert {'accuracy', 'loss'} <= set(report['evaluation'])
  assert {'mean', 'percentile_10', 'worst', 'count'} <= set(report['per_client'])
  assert {'setup', 'train', 'evaluate', 'total'} <= set(report['seconds'])
  assert report['rounds'] == 4 and report['config']['client']['client_epochs'] == 1
  assert report['examples_per_second'] > 0 and report['peak_rss_mb'] > 100
  assert report['privacy'] == {'mechanism': 'none'} and report['export_parity'] < 1e-3
  with open(folder / 'metrics.csv') as file:
    rows = list(csv.DictReader(file))
  assert [int(row['round_num']) for row in rows] == [1, 2, 3, 4]
  assert float(rows[-1]['evaluation/accuracy']) == report['evaluation']['accuracy']
  assert any((folder / 'logdir').iterdir()) and (folder / 'export' / 'saved_model').is_dir()
  assert (folder / 'report.html').read_text().startswith('<!')
  assert f'{report["evaluation"]["accuracy"]:.4f}' in done.out and str(folder / 'report.html') in done.out
  assert 'Traceback' not in done.err and 'Exception ignored' not in done.err


def test_progress_is_plain_lines_without_a_terminal(trained):
  _, done = trained
  lines = [line for line in done.err.splitlines() if line.startswith('round ')]
  assert [line.split()[1] for line in lines] == ['2/4', '4/4']
  assert all(word in lines[-1] for word in ('accuracy', 'loss', 's/round', 'left'))


def killed_run(run_dir, when, number=signal.SIGKILL, options=()):
  """Starts a run, sends the signal while `when(run_dir)` holds, and returns the exit code."""
  out = run_dir.with_suffix('.out')
  process = forked.Process(['-m', 'pipelines.train', *TINY, *options, f'--run_dir={run_dir}'], out=out, err=out)
  deadline = time.monotonic() + 200
  while process.poll() is None and time.monotonic() < deadline:
    if when(run_dir):
      process.send_signal(signal.SIGSTOP)
      if when(run_dir):  # On a busy machine the run may have gone on since it was looked at.
        break
      process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
  assert process.poll() is None, 'the run ended before it could be killed'
  children = psutil.Process(process.pid).children(recursive=True)
  process.send_signal(number)
  process.send_signal(signal.SIGCONT)
  code = process.wait(timeout=120)
  psutil.wait_procs(children, timeout=20)
  assert not [child for child in children if child.is_running()], 'a worker outlived the run'
  return code


def saved(rounds):
  return lambda run_dir: (run_dir / 'secret' / 'checkpoints' / f'program_state_{rounds}').exists()


# Before the first checkpoint, between rounds, and once the metrics of a round are being written.
@pytest.mark.parametrize('when', [lambda run_dir: (run_dir / 'config.json').exists(),
                                  pytest.param(saved(1), marks=pytest.mark.ci),
                                  lambda run_dir: (run_dir / 'metrics.csv').exists() and saved(3)(run_dir)])
def test_a_killed_run_resumes_to_the_same_weights(trained, run_pipeline, tmp_path, when):
  folder, _ = trained
  run_dir = tmp_path / 'killed'
  assert killed_run(run_dir, when) == -signal.SIGKILL
  done = run_pipeline('train', '--resume', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  for resumed, undisturbed in zip(weights(run_dir), weights(folder), strict=True):
    np.testing.assert_array_equal(resumed, undisturbed)
  with open(run_dir / 'metrics.csv') as file:
    assert [int(row['round_num']) for row in csv.DictReader(file)] == [1, 2, 3, 4]


def test_ctrl_c_finishes_the_checkpoint_and_says_how_to_continue(run_pipeline, tmp_path):
  run_dir = tmp_path / 'stopped'
  assert killed_run(run_dir, saved(1), signal.SIGINT, ['--max_concurrent_clients=1']) == 128 + signal.SIGINT
  said = run_dir.with_suffix('.out').read_text()
  assert f'--resume --run_dir={run_dir} --max_concurrent_clients=1' in said and 'Traceback' not in said
  done = run_pipeline('train', '--resume', f'--run_dir={run_dir}')
  assert done.code == 0 and (run_dir / 'report.json').exists()


@pytest.mark.ci
def test_a_run_that_goes_on_as_it_says_is_the_same_run_on_devices_too(run_pipeline, tmp_path):
  options = ['--runtime=device', '--devices=CPU', '--stacked_clients=2', '--partition=iid', '--algorithm=scaffold']
  stopped = run_pipeline('train', *TINY, *options, '--stop_after=2', f'--run_dir={tmp_path / "stopped"}')
  command = stopped.out.rstrip().splitlines()[-1].split()
  assert command[:3] == ['python', '-m', 'pipelines.train']
  done = run_pipeline('train', *command[3:])
  assert done.code == 0 and '2 in a call' in done.out
  assert run_pipeline('train', *TINY, *options, f'--run_dir={tmp_path / "straight"}').code == 0
  for resumed, undisturbed in zip(weights(tmp_path / 'stopped'), weights(tmp_path / 'straight'), strict=True):
    np.testing.assert_array_equal(resumed, undisturbed)


def test_a_finished_run_resumes_to_itself_and_another_config_is_refused(trained, run_pipeline):
  folder, _ = trained
  before = weights(folder)
  again = run_pipeline('train', '--resume', f'--run_dir={folder}')
  assert again.code == 0, again.err
  for a, b in zip(before, weights(folder), strict=True):
    np.testing.assert_array_equal(a, b)
  other = run_pipeline('train', '--resume', f'--run_dir={folder}', '--batch_size=7', '--seed=3')
  assert other.code == 1
  assert 'batch_size is 20 there and 7 here' in other.err and 'seed is 0 there and 3 here' in other.err


def test_a_private_run_reports_its_ledger_and_withholds_exact_metrics(run_pipeline, tmp_path):
  run_dir = tmp_path / 'private'
  done = run_pipeline('train', *TINY, '--sampling=poisson', '--privacy=client_gaussian', '--clip_norm=0.5',
                      '--noise_multiplier=1', '--delta=0.01', '--metrics_noise_multiplier=6', '--keep_secrets',
                      f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  # Half of the clients a round, and a metric that is noised with six times its bound beside an update that is with one.
  noise = (1 + 1 / 36) ** -0.5
  event = dp_accounting.PoissonSampledDpEvent(0.5, dp_accounting.GaussianDpEvent(noise))
  expected = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3).compose(event, 4).get_epsilon(0.01)
  assert report['privacy']['epsilon'] == pytest.approx(expected, rel=1e-3) and report['privacy']['unit'] == 'client'
  assert f'epsilon {math.ceil(1000 * report["privacy"]["epsilon"]) / 1000:.3f} at delta 0.01' in done.out
  assert all('train' not in record and 'cohort_size' not in record for record in report['history'])
  assert not re.search(r's/round|left \d|examples/s', done.out + done.err)
  header = (run_dir / 'metrics.csv').read_text().splitlines()[0]
  assert 'privacy/epsilon' in header and 'noised/accuracy' in header and 'train/' not in header
  assert all(record['noised'].keys() == {'cohort_size', 'accuracy'} for record in report['history'])
  assert report['privacy']['replayed_rounds'] == 0
  # The last checkpoint is lost after its round was seen: what comes now is a second release, with noise of its own.
  latest = max((run_dir / 'secret' / 'checkpoints').iterdir(), key=lambda path: int(path.name.rpartition('_')[2]))
  shutil.rmtree(latest)
  before = weights(run_dir)
  done = run_pipeline('train', '--resume', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  assert not (run_dir / 'secret').exists()
  again = json.loads((run_dir / 'report.json').read_text())
  assert again['privacy']['replayed_rounds'] == 1 and again['privacy']['epsilon'] > report['privacy']['epsilon']
  assert again['history'][-1]['privacy']['epsilon_rdp'] > report['history'][-1]['privacy']['epsilon_rdp']
  assert again['history'][-1]['noised'] != report['history'][-1]['noised']
  moved = np.concatenate([(a - b).ravel() for a, b in zip(before, weights(run_dir), strict=True)])
  # The same clients, the same model before: their difference is noise, of all parameters.
  assert np.median(abs(moved)) > 0.1 * 2 ** 0.5 * report['privacy']['noise_multiplier'] * 0.5 / report['config'][
      'cohort']['cohort_size']


def test_a_round_that_clients_noise_anew_is_charged_again_after_kill_9(run_pipeline, tmp_path):
  run_dir = tmp_path / 'killed'
  path = run_dir / 'secret' / 'journal.jsonl'

  def begun(folder):
    """Returns whether round 2, or one after it, is under way."""
    journal = path.read_text() if path.exists() else ''
    return '"begin": 2' in journal and journal.count('begin') > journal.count('end')

  killed_run(run_dir, begun, options=('--privacy=local_dp', '--clip_norm=0.5', '--noise_multiplier=4', '--delta=0.01',
                                   '--cohort_size=6'))
  journal = path.read_text()
  replayed = journal.count('begin') - journal.count('end')
  done = run_pipeline('train', '--resume', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert report['privacy']['replayed_rounds'] == replayed == 1
  assert report['privacy']['max_participations'] == 4 + 1
  assert all(record['privacy']['epsilon_rdp'] > 0 for record in report['history'])


@pytest.mark.ci
def test_poisson_cohorts_of_a_secure_sum_are_never_refused(run_pipeline, tmp_path):
  """Two of six clients expected: of twelve cohorts of any size, all but one draw in fifty have one client or five."""
  done = run_pipeline('train', *TINY, '--sampling=poisson', '--cohort_size=2', '--rounds=12',
                      '--privacy=client_gaussian', '--clip_norm=0.5', '--noise_multiplier=2', '--delta=0.01',
                      '--secure_sum=masks', '--secure_clients_max=4', f'--run_dir={tmp_path / "run"}')
  assert done.code == 0, done.err
  report = json.loads((tmp_path / 'run' / 'report.json').read_text())
  assert report['rounds'] == 12 and report['privacy']['sampling'] == (
      'poisson, rate 0.333333, at least 2 and at most 4 a round')
  profile = report['privacy']['profile']
  assert np.interp(report['privacy']['epsilon'], profile['epsilon'], profile['delta']) == pytest.approx(0.01, rel=0.05)
  assert 'the whole promise' in (tmp_path / 'run' / 'report.html').read_text().lower()


def test_a_run_says_what_its_secure_sum_shows_and_what_not():
  plan = plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(3))
  for mode, scheme in (('he', 'additive BFV'), ('masks', 'pairwise masks')):
    hidden = secured.describe(configs.SecureConfig(secure_sum=mode), plan, parameters_count=1000, clients=3,
                              tells=control_process.TELLS)
    sentence = train._secure_sentence(hidden)
    assert f'secure sum: {mode} ({scheme})' in sentence and 'bytes a parameter' in sentence
    assert 'hidden: update, weight, loss, catch_rate; ' in sentence
    assert 'demonstrates the protocol and its cost, not secrecy' in sentence
