"""Objects of one's own from the command line: a run that uses them can be evaluated and exported by name."""

import json
import subprocess
import sys

import pytest

from tests.pipelines.conftest import ROOT, TINY

OWN = ('--model=tests.test_api:network', '--model_option=units=6', '--algorithm=examples.fedlc:FedLC',
       '--algorithm_option=tau=0.5', '--loss=examples.focal_loss:FocalLoss', '--loss_option=gamma=1.0')


def test_a_run_of_own_parts_from_training_to_export(run_pipeline, tmp_path):
  run_dir = tmp_path / 'run'
  done = run_pipeline('train', *TINY, *OWN, f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  config = json.loads((run_dir / 'config.json').read_text())
  assert config['model']['model'] == 'tests.test_api:network' and config['task']['loss_option'] == ['gamma=1.0']
  report = json.loads((run_dir / 'report.json').read_text())
  assert report['model']['parameters'] == 64 * 6 + 6 + 6 * 10 + 10
  evaluated = run_pipeline('evaluate', f'--run_dir={run_dir}', f'--json={tmp_path}/numbers.json')
  assert evaluated.code == 0, evaluated.err
  assert json.loads((tmp_path / 'numbers.json').read_text())['evaluation'] == pytest.approx(report['evaluation'])
  exported = run_pipeline('export', f'--run_dir={run_dir}', '--format=keras')
  assert exported.code == 0, exported.err


@pytest.mark.parametrize(('flag', 'said'), [
    ('--model=tests.test_api:missing', "tests.test_api has no attribute 'missing'"),
    ('--model=mpl', 'model must be one of'), ('--algorithm=no_such_module:Thing', "no module 'no_such_module'"),
    ('--model_option=units=3', 'has no effect without model=package.module:attribute'),
    ('--aggregator=json:dumps', 'aggregator=json:dumps')])
def test_what_leads_nowhere_is_one_sentence(flag, said, run_pipeline, tmp_path):
  done = run_pipeline('train', *TINY, flag, f'--run_dir={tmp_path / "run"}')
  assert done.code == 1 and said in done.err and 'Traceback' not in done.err, done.err
  assert not (tmp_path / 'run').exists()


def test_the_console_command_runs_a_pipeline():
  ask = lambda *args: subprocess.run([sys.executable, '-c', 'from pipelines import command; command.main()', *args],
                                     capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
  assert 'train' in ask().stdout and ask('--version').stdout.strip() == '0.2.0'
  assert '--rounds' in ask('train', '--help').stdout
  by_name = subprocess.run([sys.executable, '-m', 'pipelines.command', '--version'], capture_output=True, text=True,
                           cwd=ROOT, check=False, timeout=60)
  assert by_name.stdout.strip() == '0.2.0'
  wrong = ask('trian')
  assert wrong.returncode == 2 and "no pipeline 'trian'" in wrong.stderr
