"""A user's program that is checked strictly: the public names have types, and mistakes are found before it runs."""

import os
import subprocess
import sys

import pytest

from tests.pipelines.conftest import ROOT

PROGRAM = '''
import tff_vision as tv


class Mine(tv.Algorithm):
  pass


def network(shape: tuple[int, int, int], classes: int) -> object:
  return shape, classes


images = tv.data.load('digits', partition=tv.Dirichlet(0.5, clients=10))
experiment = tv.Experiment(
    tv.Task(images, model=network, objective=tv.Classification()), algorithm=Mine(),
    client=tv.Client(tv.sgd(0.1), epochs=5), server=tv.Server(tv.adam(1e-2)), participation=tv.Poisson(50),
    privacy=tv.ClientGaussian(clip_norm=0.5, target_epsilon=3.0), secure_sum=tv.ThresholdEncryption(),
    runtime=tv.RuntimeConfig(threads=2), budget=tv.BudgetFile('budget.json', epsilon=1.0), rounds=200, seed=0)
run = experiment.run('runs/mine', on_round=tv.show_progress)
print(run.evaluation, run.ledger, run.model, run.export('tflite'), experiment.ledger(), experiment.describe())
for record in experiment.iterate('runs/mine'):
  print(record['round'])
'''
MISTAKES = {'experiment.rounds = 3': 'read-only', 'tv.Experiment(3)': 'expected "Task"',
            'tv.sgd("fast")': 'expected "float"', 'tv.Poisson(2.5)': 'expected "int"',
            'experiment.ledgr()': 'has no attribute "ledgr"', 'tv.Shards(2)': 'Missing named argument "clients"'}


@pytest.mark.ci
def test_a_program_is_typed_and_its_mistakes_are_found(tmp_path):
  script = tmp_path / 'mine.py'
  script.write_text(PROGRAM + '\n'.join(MISTAKES) + '\n')
  done = subprocess.run(
      [sys.executable, '-m', 'mypy', '--strict', '--ignore-missing-imports', '--follow-imports=silent',
       f'--cache-dir={tmp_path / "cache"}', str(script)], cwd=tmp_path, capture_output=True, text=True, check=False,
      stdin=subprocess.DEVNULL, timeout=300, env=os.environ | {'MYPYPATH': str(ROOT)})
  said = [line for line in done.stdout.splitlines() if 'error:' in line]
  first = PROGRAM.count('\n') + 1
  assert [int(line.split(':')[1]) for line in said] == list(range(first, first + len(MISTAKES))), done.stdout
  for line, expected in zip(said, MISTAKES.values(), strict=True):
    assert expected in line
