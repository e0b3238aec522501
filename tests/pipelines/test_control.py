"""pipelines.control: a policy gets better by federated play, alone it does worse elsewhere, and runs continue."""

import json
import pathlib
import re
import shutil

import pytest

QUICK = ('--model=mlp', '--client_learning_rate=0.005', '--environments=2', '--unseen_environments=1',
         '--cohort_size=2',
         '--rounds=20', '--rounds_per_evaluation=10', '--evaluation_episodes=200', '--seed=1')


@pytest.mark.ci
def test_a_policy_learns_and_a_run_that_was_killed_ends_the_same(run_pipeline, tmp_path):
  folder = tmp_path / 'run'
  done = run_pipeline('control', *QUICK, '--alone', f'--run_dir={folder}')
  assert done.code == 0, done.err
  report = json.loads((folder / 'report.json').read_text())
  page = (pathlib.Path(__file__).parents[2] / 'docs' / 'how-to' / 'reinforcement.md').read_text()
  rows = re.findall(r'^\| (`.*?) \|', page.split('## report.json')[1], re.MULTILINE)
  assert set(report) == {name for row in rows for name in re.findall(r'`(\w+)`', row)}
  found = report['evaluation']
  assert found['random_catch_rate'] < 0.3 < 0.4 < found['catch_rate'] <= found['best_possible_catch_rate'] <= 1
  assert len(report['environments']) == 2 and len(report['unseen_environments']) == 1
  assert all(0 <= row['alone_catch_rate'] <= 1 for row in report['environments'])
  assert [record['round'] for record in report['history']] == list(range(1, 21))
  page = (folder / 'report.html').read_text()
  assert 'catch rate' in page and 'not a number' not in page
  (last,) = folder.glob('secret/checkpoints/*_20')
  shutil.rmtree(last)
  (folder / 'report.json').unlink()
  again = run_pipeline('control', '--resume', f'--run_dir={folder}')
  assert again.code == 0, again.err
  assert 'round 20/20' in again.err and 'round 10/20' not in again.err
  assert json.loads((folder / 'report.json').read_text())['evaluation'] == found


@pytest.mark.parametrize(('flags', 'named'), [
    (['--privacy=client_gaussian'], 'privacy=.client_gaussian.*no effect'), (['--dataset=digits'], 'dataset=.digits.'),
    (['--model=autoencoder'], 'model=autoencoder'), (['--wind=1.5'], 'wind must lie in 0..1, found 1.5'),
    (['--compression=top_k'], 'compression=top_k'), (['--environments=0'], 'environments must be positive'),
    (['--algorithm=ditto'], 'algorithm=.ditto.'), (['--loss_scale=dynamic'], 'loss_scale=dynamic has no effect'),
    (['--runtime=device', '--math=float16'], 'math=float16 does not go with clients that play')])
def test_what_makes_no_sense_here_is_one_sentence(run_pipeline, flags, named):
  done = run_pipeline('control', *flags)
  assert done.code == 1 and re.search(named, done.err) and 'Traceback' not in done.err, done.err
