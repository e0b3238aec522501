"""The audit of runs that really were, by the real command."""

import json
import math

import pytest

from tests import forked


def run(module, *arguments):
  return forked.run(['-m', module, *arguments], timeout=400)


@pytest.mark.ci
def test_a_private_run_is_audited(tmp_path):
  folder, out = tmp_path / 'run', tmp_path / 'audit.json'
  trained = run('pipelines.train', f'--run_dir={folder}', '--rounds=2', '--rounds_per_evaluation=2', '--num_clients=6',
                '--cohort_size=3', '--privacy=client_gaussian', '--sampling=poisson', '--noise_multiplier=2',
                '--clip_norm=1')
  assert trained.returncode == 0, trained.stderr
  done = run('pipelines.audit', f'--run_dir={folder}', '--canaries=200', '--dimension=4000', '--shadow_models=4',
             f'--json={out}')
  assert done.returncode in (0, 3), done.stderr
  found = json.loads(out.read_text())
  # Noise is new in each run, and the stated bound fails in one of 1,000. Six deviations of the mean of all do not.
  canaries = found['canaries']
  assert (done.returncode == 3) == (canaries['epsilon_low'] > canaries['epsilon_theory']), done.stderr
  assert canaries['mu_low'] <= canaries['mu'] <= canaries['mu_theory'] + 6 / math.sqrt(200)
  assert found['membership']['all']['epsilon_low'] < 1 and len(found['membership']['per_client']) == 6
  ratio = found['likelihood_ratio']
  assert ratio['all'].keys() == found['membership']['all'].keys() and len(ratio['per_client']) == 6
  assert ratio['all']['epsilon_low'] < 1 and (ratio['shadow_models'], ratio['passes']) == (4, 3)
  assert 'membership by LiRA' in done.stdout and 'shadow models' in done.stderr
  correlation = found['inversion']['correlation']
  assert correlation['from the plain update'] > 0.999 and correlation['from the noised update'] < 0.5
  # An image, and exact statistics of training images, are for the run's owner; canaries are for all.
  audit = folder / 'secret' / 'audit'
  assert (audit / 'inversion.png').read_bytes()[:4] == b'\x89PNG' and not (folder / 'inversion.png').exists()
  assert json.loads((audit / 'audit.json').read_text()) == found
  assert {path.stat().st_mode & 0o777 for path in audit.iterdir()} == {0o600} and audit.stat().st_mode & 0o777 == 0o700
  page, own = (folder / 'report.html').read_text(), (audit / 'report.html').read_text()
  assert 'canaries: epsilon' in page and 'canaries: epsilon' in own
  for word in 'membership by', 'correlation', 'What one update gives away', 'A sample of training images':
    assert word not in page and (word in own) == (word != 'A sample of training images')


def test_without_a_run_one_sentence():
  done = run('pipelines.audit', '--run_dir=/nowhere')
  assert done.returncode == 1 and 'run_dir' in done.stderr and 'Traceback' not in done.stderr


def test_too_few_shadow_models_are_refused_at_once():
  done = run('pipelines.audit', '--run_dir=/nowhere', '--shadow_models=3')
  assert done.returncode == 1 and 'shadow_models' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('flag', ['canaries=0', 'dimension=0', 'inversion_steps=0', 'max_clients=-1'])
def test_attacks_of_no_size_are_refused_at_once(flag):
  name, _, value = flag.partition('=')
  done = run('pipelines.audit', '--run_dir=/nowhere', f'--{flag}')
  assert done.returncode == 1 and name in done.stderr and f'found {value}' in done.stderr
