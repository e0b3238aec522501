"""Pipelines are run as their user runs them: a process each, output to files, no pipe that a worker could hold."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
TINY = ('--dataset=digits', '--num_clients=6', '--cohort_size=3', '--client_epochs=1', '--rounds=4',
        '--rounds_per_evaluation=2')


class Finished:
  """What a command said and how it ended."""

  def __init__(self, code: int, out: str, err: str):
    self.code, self.out, self.err = code, out, err


def command(module, *args):
  return [sys.executable, '-m', f'pipelines.{module}', *map(str, args)]


@pytest.fixture(scope='session')
def run_pipeline(tmp_path_factory):
  """Returns run(module, *args) -> Finished."""
  def run(module, *args, timeout=240):
    folder = tmp_path_factory.mktemp(module)
    with open(folder / 'out', 'w+') as out, open(folder / 'err', 'w+') as err:
      done = subprocess.run(command(module, *args), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT,
                            timeout=timeout, env=dict(os.environ), check=False)
      out.seek(0)
      err.seek(0)
      return Finished(done.returncode, out.read(), err.read())
  return run


@pytest.fixture(scope='session')
def trained(run_pipeline, tmp_path_factory):
  """The folder of one finished run and what it printed; do not change it."""
  folder = tmp_path_factory.mktemp('runs') / 'trained'
  done = run_pipeline('train', *TINY, f'--run_dir={folder}', f'--json={folder}.json')
  assert done.code == 0, done.err
  return folder, done
