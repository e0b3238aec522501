"""Own objects in every place: after a kill, in an event loop, on workers; and a changed one does not go on."""

import asyncio
import signal

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tests import forked
from tests.experiment import own_parts
from tff_vision import configs, experiment
from tff_vision.export import exported
from tff_vision.program import json_file


def script(folder, log):
  """Runs the program in a process of its own; returns its exit code."""
  code = 'import sys; from tests.experiment import own_parts; own_parts.main(sys.argv[1])'
  done = forked.run(['-c', code, folder], timeout=300)
  log.write_text(done.stdout + done.stderr)
  return done.returncode


@pytest.fixture(name='whole', scope='module')
def _whole(tmp_path_factory):
  """A run that nobody interrupts, in the event loop of this thread, as a notebook's kernel has one."""
  async def cell():
    return own_parts.made().run(tmp_path_factory.mktemp('runs') / 'whole', on_round=tv.show_progress)
  return asyncio.run(cell())


def test_a_killed_program_goes_on_with_its_own_objects_to_the_same_bit(whole, tmp_path):
  folder = tmp_path / 'run'
  assert script(folder, tmp_path / 'log') == -signal.SIGKILL, (tmp_path / 'log').read_text()[-2000:]
  assert not (folder / 'report.json').exists()
  described = json_file.read(folder / 'config.json')
  assert described['algorithm']['algorithm']['parameters']['factors'] == {'array': 'float64[2]'}
  for changed, said in (({'units': 5}, 'model is .*units'), ({'factors': (1.0, 3.0)}, 'algorithm.factors differ'),
                        ({'factors': (1.0,)}, 'algorithm is .*')):
    with pytest.raises(ValueError, match=said):
      own_parts.made(**changed).run(folder)
  assert script(folder, tmp_path / 'log') == 0, (tmp_path / 'log').read_text()[-2000:]
  weights = tf.keras.models.load_model(folder / 'export' / 'model.keras', compile=False).get_weights()
  for one, other in zip(weights, whole.model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
  assert whole.report['evaluation'] == json_file.read(folder / 'report.json')['evaluation']


def test_a_run_of_own_objects_is_evaluated_exported_and_used(whole, tmp_path):
  assert whole.evaluate()['evaluation']['loss'] == pytest.approx(whole.evaluation['loss'], rel=1e-5)
  card = whole.export('saved_model', 'tflite', folder=tmp_path / 'deployment')
  assert set(card['formats']) == {'saved_model', 'tflite'} and whole.ledger.to_json() == {'mechanism': 'none'}
  assert exported.ExportedModel(whole.directory).class_names == ['0', '1', '2']
  with pytest.raises(ValueError, match='is an object of the Python program that made the run'):
    experiment.open_run(whole.directory.path)
  again = own_parts.made().run(whole.directory.path)
  assert again.rounds == 3 and again.evaluation == whole.evaluation


def test_own_objects_train_on_workers_to_the_same_weights(whole, tmp_path):
  runtime = tv.RuntimeConfig(runtime='workers', local_workers=2)
  run = own_parts.made(runtime=runtime).run(tmp_path / 'run')
  for one, other in zip(run.model.get_weights(), whole.model.get_weights(), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_runs_are_charged_to_a_budget_which_is_no_part_of_the_experiment(tmp_path):
  parts = {'privacy': configs.PrivacyConfig(privacy='local_dp', clip_norm=1.0, noise_multiplier=9.0, delta=0.01),
           'rounds': 1, 'participation': tv.Fixed(2)}
  task = tv.Task(tv.testing.tiny_images(), model='linear')
  uncharged = tv.Experiment(task, **parts)
  cost = uncharged.ledger().epsilon
  made = tv.Experiment(task, budget=tv.BudgetFile(str(tmp_path / 'budget.json'), epsilon=1.3 * cost), **parts)
  assert made.describe() == uncharged.describe()
  found = made.run(tmp_path / 'one').report['budget_file']
  assert found['runs'] == 1 and found['epsilon'] == pytest.approx(cost, rel=0.02)
  with pytest.raises(ValueError, match='budget'):
    made.run(tmp_path / 'two')
  assert not (tmp_path / 'two').exists()


@pytest.mark.parametrize('aggregator', [tff.aggregators.SecureSumFactory(1.0, -1.0), tff.learning.secure_aggregator()],
                         ids=['sum', 'mean'])
def test_secure_sums_of_tff_which_no_executor_has_are_refused_before_a_round(aggregator, tmp_path):
  task = tv.Task(tv.testing.tiny_images(), model='linear')
  made = tv.Experiment(task, aggregator=aggregator, participation=tv.Fixed(2), rounds=1)
  with pytest.raises(ValueError, match=r'aggregator asks TFF for federated_secure_sum\w*, .* choose secure_sum'):
    made.run(tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
