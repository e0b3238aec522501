"""The command line chooses devices and threads before anything of a run makes TensorFlow take its own."""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tff_vision.configs import runtime_config
from tff_vision.runtime.device import visible
from tff_vision.studies.control import policy_process, policy_training


@pytest.mark.ci
def test_a_run_has_its_threads_and_evaluates_on_its_devices(tmp_path):
  done = subprocess.run(
      [sys.executable, '-m', 'tests.runtime.device.whole_run', '--dataset=digits', '--model=linear', '--num_clients=4',
       '--cohort_size=2', '--rounds=1', '--client_epochs=1', '--runtime=device', '--devices=CPU:1,CPU:2', '--threads=3',
       f'--run_dir={tmp_path / "run"}'],
      capture_output=True, text=True, check=False, env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}, timeout=200)
  assert not done.returncode, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  assert found['threads'] == 3 == found['began']
  assert set(found['placed']) == {'CPU:1', 'CPU:2'}
  assert 'at a time on each of CPU:1, CPU:2, 3 thread(s) each' in done.stdout


class Begun(Exception):
  """What would use TensorFlow was reached."""


def test_devices_are_claimed_before_images_are_loaded_or_a_policy_is_built(monkeypatch, tmp_path):
  """A device that does not exist is refused; nothing that would use TensorFlow comes first, nor is anything written."""
  from tff_vision import configs, experiment
  from tff_vision.data import build
  from tff_vision.studies.control import control_config

  def begin(*args, **named):
    raise Begun
  monkeypatch.setattr(build, 'build', begin)
  monkeypatch.setattr(policy_process.Player, '__post_init__', begin)
  missing = runtime_config.RuntimeConfig(runtime='device', devices=('GPU:7',))
  launch = configs.LaunchConfig(run_dir=str(tmp_path / 'run'))
  runs = (lambda: experiment.run(configs.ExperimentConfig(), launch, runtime=missing, fewer_clients=True),
          lambda: experiment.from_config(configs.ExperimentConfig(), runtime=missing).run(tmp_path / 'run'),
          lambda: policy_training.run(control_config.ControlExperiment(), launch, runtime=missing,
                                      on_round=lambda record: None))
  for run in runs:
    with pytest.raises(ValueError, match='devices names GPU:7, and TensorFlow sees'):
      run()
  assert not list(tmp_path.iterdir())


def test_a_second_choice_in_a_process_keeps_the_numbers_of_the_machine(monkeypatch):
  """The first choice was the machine's GPU:1 of two, and TensorFlow, which calls it GPU:0, has begun."""
  gpus = [tf.config.PhysicalDevice(f'/physical_device:GPU:{i}', 'GPU') for i in range(2)]

  def begun(*args):
    raise RuntimeError('Visible devices cannot be modified after being initialized')
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: gpus)
  monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: gpus[1:])
  monkeypatch.setattr(tf.config, 'set_visible_devices', begun)
  monkeypatch.setattr(tf.config, 'list_logical_devices', lambda kind: gpus[:1])
  monkeypatch.setattr(tf.config.experimental, 'set_memory_growth', begun)
  assert visible.choose(('GPU:1',), 1) == ['GPU:0']
  with pytest.raises(ValueError, match='devices names GPU:0, which this program, having used TensorFlow before'):
    visible.choose(('GPU:0',), 1)
