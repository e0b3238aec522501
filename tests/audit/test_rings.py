"""Faults that this project once had, put back one at a time: the canaries of a small run must show each of them.

Beside each, the same run without the fault, which must not ring. Noise is large, so that the promise is a small epsilon
and few guesses contradict it; where a fault gives little away at a time, it is repeated until guesses are sure. Coins
and noise are new in each run: there are so many canaries that neither an uneven split of the coins nor a few wrong
guesses hide a fault.
"""

import contextlib
import shutil
import types

import pytest
import tensorflow as tf

from pipelines import train as train_pipeline
from tests.audit import audited_runs
from tff_vision import configs, told
from tff_vision.accounting import cohort_sizes
from tff_vision.aggregation import secured
from tff_vision.configs import budget_file_config, runtime_config
from tff_vision.learning import client_data
from tff_vision.privacy.mechanisms import client_level, local_plan, noised_mean
from tff_vision.privacy.noise import integer_gaussian, key_binding
from tff_vision.program import checkpoints, run_directory
from tff_vision.runtime.driver import connection, fleet, stub
from tff_vision.secure import chacha20

pytestmark = [pytest.mark.ci, pytest.mark.usefixtures('light')]


@pytest.fixture(params=['fault', 'mended'])
def fault(request, monkeypatch):
  """Returns patch(object, name, value), which does nothing in the run without the fault, and whether there is one."""
  there = request.param == 'fault'

  def patch(*where):
    if there:
      monkeypatch.setattr(*where)
  patch.there = there
  return patch


def assert_rings(found, fault, observer):
  audit = found.report['one_run_audit']
  assert audit['epsilon'] < 1.2 or not fault.there or observer == 'launches', 'a promise that means something'
  assert audit['broken'] == fault.there, audit
  if fault.there:
    assert audit['epsilon_low'] > audit['epsilon'] and audit['seen_by'] == observer, audit
    assert [warning for warning in found.report['warnings'] if warning.startswith('BROKEN')]
  assert run_directory.RunDirectory(found.directory.path).is_wiped()


def test_noise_of_float32_numbers(fault, tmp_path):
  def of_float32(key, nonce, shape, sigma):
    words = chacha20.key_stream(key, nonce, integer_gaussian.words_of(tf.TensorShape(shape).num_elements(), 2.0))
    normal = integer_gaussian._box_muller(words[:4 * ((tf.TensorShape(shape).num_elements() + 1) // 2)])
    normal = tf.cast(normal[:tf.TensorShape(shape).num_elements()], tf.float32)
    return tf.reshape(tf.cast(tf.round(sigma * tf.cast(normal, tf.float64)), tf.int64), shape)

  fault(integer_gaussian, 'gaussian', of_float32)
  chosen = audited_runs.config(audited_runs.npz(tmp_path, side=48), 'client_gaussian', sampling='poisson', cohort=90,
                               rounds=1, canaries=96, noise=22.0)
  assert_rings(audited_runs.run(chosen, tmp_path / 'run'), fault, 'grid')


def test_metrics_in_the_clear(fault, tmp_path):
  fault(local_plan.LocalDp, 'measured', told.Measured.EXACT)
  chosen = audited_runs.config(audited_runs.npz(tmp_path), 'local_dp', sampling='round_robin', cohort=1, rounds=68,
                               canaries=64, noise=40.0)
  assert_rings(audited_runs.run(chosen, tmp_path / 'run'), fault, 'told')


def test_one_noise_for_two_cohorts(fault, tmp_path, monkeypatch):
  fault(key_binding, 'round_key', lambda key, round_num, totals: key)
  fault(client_level.Central, 'with_fresh_noise', lambda self, state: state)
  chosen = audited_runs.config(audited_runs.npz(tmp_path), 'client_gaussian', sampling='poisson', cohort=220, rounds=3,
                               canaries=240, noise=20.0)
  seen = []
  interrupted = audited_runs.run(chosen, tmp_path / 'run', on_round=seen.append, stop_requested=lambda: len(seen) == 2)
  assert interrupted.report is None
  # The last checkpoint is lost, and so is every other client when the round is run again.
  folder = run_directory.RunDirectory(tmp_path / 'run').checkpoints
  shutil.rmtree(folder / f'{checkpoints.PREFIX}2')
  monkeypatch.setattr(client_data.SentData, 'present', lambda self, cohort: [one for one in cohort if one % 2])
  found = audited_runs.run(chosen, tmp_path / 'run', resume=True)
  assert found.ledger.replayed_rounds == 1
  assert_rings(found, fault, 'repeats')


def test_clients_that_noise_themselves_and_are_asked_again_and_again(fault, tmp_path, monkeypatch):
  attempts, answered, invoke = 150, [], connection.WorkerConnection.invoke

  def lossy(self, computation, argument):
    found = invoke(self, computation, argument)
    if self.name != 'coordinator':
      answered.append(self.name)
      if len(answered) < attempts:
        raise stub.WorkerLost('after the answer')
    return found

  monkeypatch.setattr(connection.WorkerConnection, 'invoke', lossy)
  fault(fleet._Repeated, '__call__', lambda self, worker: self._work(worker))  # Nobody is told.
  chosen = audited_runs.config(audited_runs.npz(tmp_path, clients=1), 'example_dp_sgd', sampling='fixed', cohort=1,
                               rounds=1, canaries=600, noise=10.0, batch=800)
  found = audited_runs.run(chosen, tmp_path / 'run', runtime=runtime_config.RuntimeConfig(
      runtime='workers', local_workers=1, attempts=attempts))
  assert len(answered) == attempts and found.ledger.replayed_rounds == (0 if fault.there else attempts - 1)
  assert_rings(found, fault, 'answers')


def test_launches_that_are_refused_for_what_was_drawn(fault, tmp_path):
  def check_run(config, plan, *, rounds, run_dir):
    del config, run_dir
    for round_num in range(1, rounds + 1):
      if (size := len(plan.cohort(round_num))) == 1:
        raise ValueError(f'round {round_num} has {size} client, whose sum would be its update.')

  fault(cohort_sizes.Sizes, 'first', lambda self, order, chosen: order[:chosen])
  fault(secured, 'check_run', check_run)
  chosen = audited_runs.config(
      audited_runs.npz(tmp_path, clients=1), 'client_gaussian', sampling='poisson', cohort=29, rounds=2, canaries=32,
      noise=100.0, secure=configs.SecureConfig(secure_sum='masks', secure_clients_max=40))
  assert_rings(audited_runs.run(chosen, tmp_path / 'run'), fault, 'launches')


def test_a_run_that_rings_says_so_and_its_command_ends_with_3(fault, tmp_path, monkeypatch, capsys):
  fault(noised_mean.NoisedMeanFactory, '_stddev_steps', lambda self, specs: 1.0)  # Hardly any noise at all.
  chosen = audited_runs.config(audited_runs.npz(tmp_path), 'client_gaussian', sampling='poisson', cohort=60, rounds=1,
                               canaries=64, noise=20.0)
  monkeypatch.setattr(train_pipeline.experiment_flags, 'experiment_config', lambda *_: chosen)
  monkeypatch.setattr(train_pipeline.experiment_flags, 'launch_config',
                      lambda: configs.LaunchConfig(run_dir=str(tmp_path / 'run')))
  monkeypatch.setattr(train_pipeline.runtime_flags, 'chosen_runtime', runtime_config.RuntimeConfig)
  monkeypatch.setattr(train_pipeline.federation_flags, 'plan_file', lambda: None)
  monkeypatch.setattr(train_pipeline, 'flags', types.SimpleNamespace(
      FLAGS={'cohort_size': types.SimpleNamespace(present=True)}))
  monkeypatch.setattr(train_pipeline.privacy_flags, 'budget_file', budget_file_config.BudgetFileConfig)
  monkeypatch.setattr(train_pipeline, '_StopOnSignal', lambda: types.SimpleNamespace(requested=lambda: False))
  ended = contextlib.nullcontext() if not fault.there else pytest.raises(SystemExit, match='3')
  with ended:
    train_pipeline.main()
  said, page = capsys.readouterr().out, (tmp_path / 'run' / 'report.html').read_text()
  report = run_directory.RunDirectory(tmp_path / 'run').read_report()
  assert report['one_run_audit']['sentence'] in said
  assert ('BROKEN' in said) == ('BROKEN' in page) == fault.there and 'One run audit' in page

