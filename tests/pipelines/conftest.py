"""Pipelines are run as their user runs them: a process each, output to files, no pipe that a worker could hold."""

import os
import subprocess
import sys

import pytest

from tests import forked

ROOT = forked.ROOT
TINY = ('--dataset=digits', '--num_clients=6', '--cohort_size=3', '--client_epochs=1', '--rounds=4',
        '--rounds_per_evaluation=2')


class Finished:
  """What a command said and how it ended."""

  def __init__(self, code: int, out: str, err: str):
    self.code, self.out, self.err = code, out, err


def command(module, *args):
  return [sys.executable, '-m', f'pipelines.{module}', *map(str, args)]


@pytest.fixture(scope='session')
def run_pipeline():
  """Returns run(module, *args) -> Finished."""
  def run(module, *args, timeout=240):
    done = forked.run(['-m', f'pipelines.{module}', *args], timeout=timeout)
    return Finished(done.returncode, done.stdout, done.stderr)
  return run


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
  """The folder of one finished run and what it printed, of an interpreter of its own; do not change it."""
  folder = tmp_path_factory.mktemp('runs') / 'trained'
  with open(folder.with_name('out'), 'w+') as out, open(folder.with_name('err'), 'w+') as err:
    code = subprocess.run(command('train', *TINY, f'--run_dir={folder}', f'--json={folder}.json'), cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=240, env=dict(os.environ),
                          check=False).returncode
  done = Finished(code, *(folder.with_name(name).read_text() for name in ('out', 'err')))
  assert done.code == 0, done.err
  return folder, done
