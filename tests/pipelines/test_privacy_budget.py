import json

import dp_accounting
import pytest

from tests import forked
from tff_vision.accounting import accounting


def run(*arguments):
  return forked.run(['-m', 'pipelines.privacy_budget', *arguments], timeout=120)


def test_noise_for_a_budget_with_table_plot_and_json(tmp_path):
  out, plot = tmp_path / 'answer.json', tmp_path / 'table.png'
  done = run('--population=3383', '--cohort_size=120', '--rounds=100', '--target_epsilon=2', '--delta=1e-5',
             f'--json={out}', f'--plot={plot}')
  assert done.returncode == 0, done.stderr
  found = json.loads(out.read_text())
  assert set(found) == {'epsilon_rdp', 'epsilon_pld', 'noise_multiplier', 'rounds', 'delta', 'unit', 'relation',
                        'sampling', 'profile'}
  event = dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
      120 / 3383, dp_accounting.GaussianDpEvent(found['noise_multiplier'])), 100)
  assert found['epsilon_pld'] == pytest.approx(
      dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(1e-5), abs=1e-6)
  assert found['epsilon_pld'] == pytest.approx(2.0, abs=1e-4)
  assert found['relation'] == 'add_or_remove_one' and found['unit'] == 'client'
  assert 'client    2.0000' in done.stdout and 'example' in done.stdout and '240' in done.stdout
  assert plot.read_bytes()[:4] == b'\x89PNG'
  assert 0.01 < found['profile']['true_positive_rate']['0.01'] < 0.2
  for said in ('delta at epsilon  0: ', 'mu (Gaussian)', 'best attack       finds',
               'at 0.1 % false alarms, client level', 'at 1 % false alarms, example level'):
    assert said in done.stdout


def test_epsilon_for_noise_on_standard_output():
  done = run('--population=1569', '--cohort_size=32', '--rounds=98', '--noise_multiplier=1', '--unit=example',
             '--delta=1e-4', '--json=-')
  found = json.loads(done.stdout)
  assert found['unit'] == 'example' and found['epsilon_pld'] < found['epsilon_rdp']


def test_hardly_any_noise_is_answered_in_seconds_and_a_tiny_delta_by_renyi():
  done = run('--population=100', '--cohort_size=10', '--rounds=100', '--noise_multiplier=0.02', '--json=-')
  found = json.loads(done.stdout)
  assert 1e4 < found['epsilon_pld'] < 1e6
  done = run('--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1', '--delta=1e-200')
  assert 'epsilon (PLD)  not known' in done.stdout and 'client    inf' not in done.stdout
  assert 'example   inf       any change of one client\'s examples, so of one example: no bound is found' in done.stdout


def test_rounds_for_both_and_fixed_cohorts():
  done = run('--population=3400', '--cohort_size=100', '--noise_multiplier=3', '--target_epsilon=2', '--delta=1e-5',
             '--sampling=fixed', '--json=-')
  found = json.loads(done.stdout)
  assert found['epsilon_pld'] is None and found['relation'] == 'replace_one'
  assert found['epsilon_rdp'] <= 2.0 and found['rounds'] > 10


def test_secure_sums_bound_cohorts_and_the_price_says_so():
  asked = ['--population=200', '--cohort_size=10', '--rounds=20', '--noise_multiplier=1.5', '--delta=1e-4']
  done = run(*asked, '--secure_clients_max=16')
  assert 'sampling poisson, at least 2 and at most 16 a round' in done.stdout, done.stderr
  free = accounting.SampledGaussian(rounds=20, cohort_size=10, population=200, noise_multiplier=1.5, sampling='poisson')
  assert float(done.stdout.split('epsilon (PLD)')[1].split()[0]) > 1.2 * free.epsilon(1e-4)


def test_random_allocation_says_what_it_saves():
  done = run('--population=500', '--cohort_size=20', '--rounds=50', '--noise_multiplier=1', '--delta=1e-4',
             '--sampling=balls_in_bins', '--unit=example')
  assert 'Random allocation takes noise 1:' in done.stdout, done.stderr
  assert "less than Poisson sampling's" in done.stdout and 'without amplification' in done.stdout
  assert 'warning           delta = 0.0001 is weak' not in done.stdout


def test_compare_prints_every_mechanism():
  done = run('--population=340', '--cohort_size=20', '--rounds=34', '--target_epsilon=3', '--compare')
  for name in ('client_gaussian', 'client_gaussian, allocation', 'Random allocation takes noise',
               'dp_ftrl efficient', 'dp_mf banded', 'dp_mf blt', 'dp_mf amplified', 'Take '):
    assert name in done.stdout, done.stderr


@pytest.mark.parametrize('arguments, complaint', [
    (['--rounds=10', '--noise_multiplier=1'], 'population'),
    (['--population=100', '--cohort_size=10', '--rounds=10'], 'give two'),
    (['--population=1', '--cohort_size=1', '--rounds=10', '--noise_multiplier=1'], 'population of 1'),
    (['--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1', '--plot=/no/a.png'], 'folder'),
    (['--population=100', '--cohort_size=10', '--rounds=10', '--target_epsilon=1', '--compare', '--sampling=fixed'],
     'sampling'),
    (['--population=100', '--cohort_size=20', '--rounds=10', '--noise_multiplier=1', '--secure_clients_max=16'],
     'cohort_size=20 exceeds secure_clients_max=16'),
    (['--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1', '--secure_clients_max=16',
      '--sampling=fixed'], 'secure_clients_max=16 has no effect'),
    *((['--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1', f'--secure_clients_max={few}'],
       f'secure_clients_max must be at least 2, found {few}') for few in (1, 0)),
    (['--population=100', '--cohort_size=200', '--rounds=10', '--noise_multiplier=1'], 'cohort_size=200'),
    (['--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1', '--delta=0.02'], 'delta=0.02'),
    (['--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1e300'], 'at most 67108864'),
    (['--population=100', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1e-300'], 'at least 1e-09'),
    (['--population=99999999999999999999', '--cohort_size=10', '--rounds=10', '--noise_multiplier=1'],
     'population must be at most')])
def test_one_sentence_on_bad_input(arguments, complaint):
  done = run(*arguments)
  assert done.returncode != 0 and complaint in done.stderr and 'Traceback' not in done.stderr
