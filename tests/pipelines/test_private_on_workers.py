"""Whole runs of clients that draw their own noise, on workers: one release a turn, and the rate of their own files."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import built
from tff_vision import configs, experiment
from tff_vision.configs import runtime_config
from tff_vision.data import images, records
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.driver import connection, stub


def config(rounds, **sections):
  return configs.ExperimentConfig(**{
      'data': configs.DataConfig(dataset='digits', num_clients=3, partition='iid'),
      'model': configs.ModelConfig(model='linear'),
      'cohort': configs.CohortConfig(sampling='fixed', cohort_size=3),
      'client': configs.ClientConfig(client_epochs=1, client_learning_rate=1.0),
      'privacy': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0, delta=1e-4),
      'program': configs.ProgramConfig(rounds=rounds, rounds_per_evaluation=rounds), **sections})


def on_workers(**options):
  return runtime_config.RuntimeConfig(runtime='workers', local_workers=1, **options)


def launch(folder, **options):
  return configs.LaunchConfig(run_dir=str(folder), **options)


def test_what_is_sent_and_what_is_remembered_is_of_one_training_and_a_second_one_is_charged(tmp_path, monkeypatch):
  chosen = config(1, aggregation=configs.AggregationConfig(compression='top_k', top_k_fraction=0.1),
                  cohort=configs.CohortConfig(sampling='round_robin', cohort_size=1))
  answered = []
  invoke = connection.WorkerConnection.invoke

  def lossy(self, computation, argument):
    found = invoke(self, computation, argument)
    if self.name != 'coordinator':
      answered.append(self.name)
      if len(answered) == 1:
        raise stub.WorkerLost('after the answer')
    return found

  monkeypatch.setattr(connection.WorkerConnection, 'invoke', lossy)
  report = experiment.run(chosen, launch(tmp_path / 'run', keep_secrets=True), runtime=on_workers()).report
  # Two answers, both of the whole of a client's part: noise was drawn twice.
  assert len(answered) == 2 and report['privacy']['replayed_rounds'] == 1
  task = built.task(chosen)
  plan = experiment.build_plan(chosen, task)
  twice = plan.charged(plan_lib.Past(replayed=(1,))).ledger(1).epsilon
  assert report['privacy']['epsilon'] == pytest.approx(twice) and twice > 1.2 * plan.ledger(1).epsilon

  model = tf.keras.models.load_model(tmp_path / 'run/export/model.keras', compile=False)
  sent = np.concatenate([np.ravel(before - after.numpy()) for before, after in zip(
      task.initial_weights().trainable, model.trainable_weights, strict=True)])
  [path] = (tmp_path / 'run/secret/client_states').glob('*/*.npz')
  with np.load(path) as saved:
    remembered = saved['arr_0']
  # What was sent is not remembered, and the other way round: nothing else than rounding is in both.
  assert 0 < np.count_nonzero(np.abs(sent) > 1e-6) <= 65 < np.count_nonzero(remembered)
  assert not np.any((np.abs(sent) > 1e-6) & (remembered != 0))


def test_the_ledger_counts_with_the_files_of_the_clients(tmp_path):
  chosen = config(3)
  task, files = built.task(chosen), tmp_path / 'files'
  files.mkdir()

  def write(client, count):
    examples = task.images.train.examples(client)
    records.write(files / records.file_name(client), images.Examples(examples.x[:count], examples.y[:count]))

  def run(on_round=lambda record: None, **options):
    return experiment.run(chosen, launch(tmp_path / 'run', **options), on_round=on_round, runtime=on_workers(
        data_placement='worker', worker_data_dir=str(files)))

  sizes = [task.images.train.num_examples(client) for client in range(3)]
  for client, count in enumerate((60, 200, sizes[2])):
    write(client, count)
  # A site changes its file: refused where the run is, and where it goes on.
  with pytest.raises(ValueError, match='client 1 was announced with 200 examples, and its file on the worker has 180;'):
    run(on_round=lambda record: write(1, 180))
  with pytest.raises(ValueError, match='client 1 has 180 examples and had 200 when the run began'):
    run(resume=True)
  write(1, 200)
  ledger = run(resume=True).report['privacy']

  true = plan_lib.build_plan(chosen.privacy, chosen.cohort, population=3, rounds=3, seed=0, sizes=(60, 200, sizes[2]),
                             client=chosen.client)
  assert [client['examples'] for client in ledger['per_client']] == [60, 200, sizes[2]]
  assert ledger['replayed_rounds'] == 1  # The round that was refused had begun.
  assert ledger['epsilon'] == pytest.approx(true.charged(plan_lib.Past(replayed=(2,))).ledger(3).epsilon)
  announced = experiment.build_plan(chosen, task)
  assert ledger['epsilon'] > 1.5 * announced.charged(plan_lib.Past(replayed=(2,))).ledger(3).epsilon
  assert json.loads((tmp_path / 'run/report.json').read_text())['dataset']['num_train_examples'] == 260 + sizes[2]
