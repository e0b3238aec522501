"""What follows a run while it trains: live page, trackers, TensorBoard; and runs that stop and begin by themselves."""

import contextlib
import re

import numpy as np
import pytest
import tensorflow as tf

from tff_vision import configs, experiment, trackers
from tff_vision.program import json_file
from tff_vision.runtime.driver import runtimes


class Recorder:
  """A tracker that writes down what it is told."""
  told: list = []

  def __init__(self, run):
    self.identity = run.identity or 'first'
    Recorder.told.append(('begin', run))

  def log(self, rounds):
    Recorder.told.append(('log', dict(rounds)))

  def end(self, results, files, *, finished):
    Recorder.told.append(('end', results, [path.name for path in files], finished))


@pytest.fixture(autouse=True)
def _recorded(monkeypatch, tff_runtime):
  @contextlib.contextmanager
  def open_runtime(config):
    del config
    yield tff_runtime

  Recorder.told = []
  monkeypatch.setattr(runtimes, 'open_runtime', open_runtime)
  monkeypatch.setattr(trackers, 'check', lambda name: None)
  monkeypatch.setattr(trackers, 'begin', lambda name, run: Recorder(run))


def configured(tmp_path, **sections):
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 256, (52, 5, 5, 1)).astype(np.uint8), rng.integers(0, 3, 52)
  np.savez(tmp_path / 'noise.npz', x=x[:40], y=y[:40], client=np.arange(40) % 8, x_test=x[40:], y_test=y[40:],
           client_test=np.arange(12) % 8)
  return configs.ExperimentConfig(
      data=configs.DataConfig(dataset='npz', data_dir=str(tmp_path / 'noise.npz'), partition='natural'),
      model=configs.ModelConfig(model='linear'), client=configs.ClientConfig(batch_size=4, client_epochs=1),
      program=configs.ProgramConfig(rounds=6, rounds_per_evaluation=2),
      **{'cohort': configs.CohortConfig(cohort_size=4), **sections})


def events(folder):
  """Returns the tags in a log directory, with the plugins that show them."""
  return {(value.tag, value.metadata.plugin_data.plugin_name) for path in folder.iterdir()
          for record in tf.data.TFRecordDataset(str(path))
          for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value}


def test_a_run_is_followed_from_its_first_evaluation_over_a_stop_to_its_end(tmp_path):
  folder, config, pages = tmp_path / 'run', configured(tmp_path), {}

  def on_round(record):
    page = folder / 'report.html'
    pages[record['round']] = page.read_text() if page.exists() else None

  launch = configs.LaunchConfig(run_dir=str(folder), resume='auto', stop_after=3, tracker='mlflow')
  assert experiment.run(config, launch, on_round=on_round).report is None
  # `resume=auto` began a run where there was none, and goes on with it.
  result = experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume='auto', tracker='mlflow'),
                          on_round=on_round)
  assert result.rounds == 6 and list(pages) == [1, 2, 3, 4, 5, 6]
  assert pages[1] is None and pages[2] is None and 'http-equiv="refresh"' in pages[3]
  assert re.search(r'Training: round <data value="2">', pages[3]) and 'Stopped: round' in pages[4]
  assert re.search(r'Training: round <data value="4">', pages[5])
  whole = (folder / 'report.html').read_text()
  assert 'http-equiv="refresh"' not in whole and 'role="status"' not in whole

  begun = [told[1] for told in Recorder.told if told[0] == 'begin']
  assert [run.identity for run in begun] == [None, 'first'] and not any(run.timeless for run in begun)
  assert begun[0].settings['client_epochs'] == 1 and begun[0].folder == folder / 'tracking'
  assert json_file.read(folder / 'tracking.json') == {'mlflow': 'first'}
  logged = {number: numbers for told in Recorder.told if told[0] == 'log' for number, numbers in told[1].items()}
  assert sorted(logged) == [1, 2, 3, 4, 5, 6] and {'evaluation/accuracy', 'train/loss', 'seconds'} <= set(logged[2])
  ends = [told for told in Recorder.told if told[0] == 'end']
  assert [told[3] for told in ends] == [False, True] and ends[1][2] == ['report.html', 'report.json']
  assert ends[1][1]['evaluation/accuracy'] == result.evaluation['accuracy']

  tags = events(folder / 'logdir')
  assert {('clients/accuracy', 'histograms'), ('test images', 'images'),
          ('_hparams_/session_start_info', 'hparams')} <= tags, tags


def test_times_of_a_private_run_reach_no_tracker_before_its_end(tmp_path):
  folder = tmp_path / 'run'
  config = configured(
      tmp_path, cohort=configs.CohortConfig(sampling='poisson', cohort_size=4),
      privacy=configs.PrivacyConfig(privacy='client_gaussian', clip_norm=0.5, delta=0.01, noise_multiplier=2.0))
  said = []
  launch = dict(run_dir=str(folder), tracker='mlflow', tracker_dir=str(tmp_path / 'elsewhere'))
  experiment.run(config, configs.LaunchConfig(**launch, stop_after=3), on_round=lambda _: said.extend(Recorder.told))
  assert not said and not Recorder.told
  experiment.run(config, configs.LaunchConfig(**launch, resume=True), on_round=lambda _: said.extend(Recorder.told))
  assert not said and [told[0] for told in Recorder.told] == ['begin', 'log', 'end']
  run, rounds = Recorder.told[0][1], Recorder.told[1][1]
  assert run.timeless and run.folder == tmp_path / 'elsewhere' and not (folder / 'tracking.json').exists()
  assert sorted(rounds) == [1, 2, 3, 4, 5, 6]
  assert not {name for numbers in rounds.values() for name in numbers} & {'seconds', 'cohort_size', 'train/loss'}
  assert 'privacy/epsilon' in Recorder.told[2][1]


def test_a_config_that_a_kill_left_half_written_does_not_stop_a_batch_system(tmp_path):
  config, folder = configured(tmp_path), tmp_path / 'run'
  folder.mkdir()
  (folder / 'config.json.part').write_text('{')
  (folder / 'config.part').write_text('{')
  with pytest.raises(ValueError, match='not an empty folder'):
    experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume='auto'))
  (folder / 'config.json.part').unlink()
  launch = configs.LaunchConfig(run_dir=str(folder), resume='auto', stop_after=1)
  assert experiment.run(config, launch).rounds == 1
  # A run that is stopped where it already is stays there.
  assert experiment.run(config, launch).rounds == 1


@pytest.mark.parametrize(('given', 'said'), [
    ({'resume': 'soon', 'run_dir': 'x'}, "resume.*'soon'"), ({'resume': 'auto'}, 'resume needs run_dir'),
    ({'stop_after': 0}, 'stop_after'), ({'tracker': 'mlflo'}, "Did you mean 'mlflow'"),
    ({'tracker_dir': 'x'}, 'tracker_dir=.* has no effect')])
def test_a_wrong_launch_is_named(given, said):
  with pytest.raises(ValueError, match=said):
    configs.LaunchConfig(**given)


def test_a_cohort_of_all_clients_only_where_it_is_asked_for(tmp_path):
  config = configured(tmp_path, cohort=configs.CohortConfig(cohort_size=10))
  with pytest.raises(ValueError, match='cohort_size=10 is larger than the population of 8'):
    experiment.run(config, configs.LaunchConfig(run_dir=str(tmp_path / 'run')))
  made = experiment.from_config(config)
  assert made.within_population().participation.cohort_size == 8
  assert made.within_population().images is made.images
  assert experiment.from_config(configured(tmp_path)).within_population().participation.cohort_size == 4
