"""--help of a group, true defaults, and suggestions for what is misspelt."""

import pytest

from pipelines import nearest


def test_help_shows_a_pipelines_own_flags_first_and_the_defaults_that_it_uses(run_pipeline):
  done = run_pipeline('sweep', '--help')
  assert done.code == 0 and done.out.index('Of pipelines.sweep itself:') < done.out.index('\nData and partition:\n')
  told = ' '.join(run_pipeline('hospitals', '--help').out.split())
  for flag, default in (('dataset', "'synthetic_chest:large'"), ('model', "'scattering'"), ('rounds', '40'),
                        ('client_learning_rate', '0.008')):
    assert f'(default: {default})' in told.partition(f' --{flag}: ')[2].partition(' --')[0], flag


def test_help_for_one_word_shows_a_group_or_flags(run_pipeline):
  privacy = run_pipeline('train', '--help=privacy').out
  assert '\nPrivacy:\n' in privacy and '--target_epsilon' in privacy and '--dataset' not in privacy
  assert '\nPrivacy budget over several runs:\n' not in privacy
  flags = run_pipeline('train', '--help=learning-rate').out
  assert '--client_learning_rate' in flags and '--server_learning_rate' in flags and '--rounds:' not in flags
  assert '--grid' in run_pipeline('sweep', '--help=grid').out
  done = run_pipeline('train', '--help=privcy')
  assert done.code == 1 and 'no group and no flag' in done.err and 'Did you mean --privacy?' in done.err


@pytest.mark.parametrize(('given', 'said'), [
    ('--learning_rate=0.1', '--client_learning_rate'),
    ('--client-learning-rate=0.1', 'Did you mean --client_learning_rate'),
    ('--privacy=client_gausian', "Did you mean 'client_gaussian'?"), ('--dataset=fashionmnist', "'fashion_mnist'?"),
    ('--partition=Dirichelt', "Did you mean 'dirichlet'?"), ('--tracker=wandbb', "Did you mean 'wandb'?"),
    ('--algorithm=FedAvg', "Did you mean 'fedavg'?"), ('--resume=soon', "'soon'")])
def test_what_is_misspelt_gets_a_suggestion(run_pipeline, given, said, tmp_path):
  done = run_pipeline('train', given, f'--run_dir={tmp_path / "run"}')
  assert done.code == 1 and said in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_names_near_another_and_pipelines(run_pipeline):
  known = ['rounds', 'client_learning_rate', 'server_learning_rate', 'cohort_size', 'run_dir']
  assert nearest.names('round', known) == ['rounds'] and nearest.names('rundir', known) == ['run_dir']
  assert nearest.names('learning_rate', known) == ['client_learning_rate', 'server_learning_rate']
  assert nearest.names('Cohort-Size', known) == ['cohort_size'] and not nearest.names('zzz', known)
  assert not nearest.names('', known)
  done = run_pipeline('command', 'trian')
  assert done.code == 2 and 'Did you mean train?' in done.err
  listed = run_pipeline('command', '--help').out
  assert 'watch' in listed and not [name for name in ('helptext', 'nearest', 'cells', 'flagfiles') if name in listed]
