"""An experiment loads its images once, plans once and makes its task once, whatever is asked of it."""

import collections

import pytest

import tff_vision as tv
from tff_vision import configs, experiment, tasks
from tff_vision.data import build
from tff_vision.models import check
from tff_vision.privacy import plan as plan_lib


@pytest.fixture(name='counts')
def _counts(monkeypatch):
  """How often each step is done."""
  counts = collections.Counter()

  def counted(owner, name, label):
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **named: counts.update([label]) or original(*args, **named))

  counted(build, 'build', 'images')
  counted(plan_lib, 'build_plan', 'plan')
  counted(check, 'check', 'model is checked')
  made = tasks.Task.__init__
  monkeypatch.setattr(tasks.Task, '__init__', lambda self, **named: counts.update(['task']) or made(self, **named))
  return counts


def test_a_run_does_each_step_once(counts, tmp_path):
  config = configs.ExperimentConfig(
      data=configs.DataConfig(num_clients=4), model=configs.ModelConfig(model='linear'),
      client=configs.ClientConfig(client_epochs=1), cohort=configs.CohortConfig(cohort_size=2),
      program=configs.ProgramConfig(rounds=1))
  made = experiment.from_config(config)
  assert not counts
  run = made.run(tmp_path / 'run')
  assert counts == {'images': 1, 'plan': 1, 'task': 1, 'model is checked': 1}
  run.export('keras')
  run.evaluate()
  assert counts == {'images': 1, 'plan': 1, 'task': 1, 'model is checked': 1}
  made.ledger()  # Planned without the run's secret, over the images that are there.
  assert counts == {'images': 1, 'plan': 2, 'task': 2, 'model is checked': 1}


def test_a_ledger_does_each_step_once_and_images_at_hand_are_not_loaded(counts):
  made = tv.Experiment(tv.Task(tv.testing.tiny_images(), model='linear'), participation=tv.Fixed(2))
  made.ledger()
  assert counts == {'plan': 1, 'task': 1, 'model is checked': 1}
