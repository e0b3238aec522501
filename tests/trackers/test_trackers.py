"""Trackers write what they are given, offline; where one is not installed, one sentence says how to install it."""

import importlib.util
import sys
import time

import pytest

from tff_vision import trackers

ROUNDS = {1: {'train/loss': 2.0}, 2: {'train/loss': 1.0, 'evaluation/accuracy': 0.5, 'other': float('nan')}}


def run(tmp_path, **options):
  return trackers.Tracked(name='a run', folder=tmp_path / 'tracking', settings={'rounds': 3, 'model': 'mlp'}, **options)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
  for name in ('MLFLOW_TRACKING_URI', 'WANDB_MODE', 'WANDB_PROJECT', 'WANDB_DIR'):
    monkeypatch.delenv(name, raising=False)


def test_a_record_becomes_numbers_by_path():
  assert trackers.flat({'a': {'b': 1, 'c': {'d': 0.5}}, 'e': True, 'f': 'text', 'g': None, 'h': [1]}) == {
      'a/b': 1.0, 'a/c/d': 0.5}


def test_a_tracker_that_is_not_installed_is_one_sentence(monkeypatch, tmp_path):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  for name in ('mlflow', 'wandb'):
    with pytest.raises(ValueError, match=f'tracker={name} needs .* requirements-trackers.txt'):
      trackers.begin(name, run(tmp_path))
  trackers.check('none')


def test_a_folder_with_the_name_of_a_tracker_is_no_tracker(monkeypatch, tmp_path):
  """W&B writes ./wandb, which Python takes for a package without files."""
  (tmp_path / 'wandb').mkdir()
  monkeypatch.setattr(sys, 'path', [str(tmp_path)])
  with pytest.raises(ValueError, match='tracker=wandb needs .* requirements-trackers.txt'):
    trackers.check('wandb')


def test_mlflow_gets_each_round_once_also_over_a_resume(tmp_path):
  mlflow = pytest.importorskip('mlflow')
  tracker = trackers.begin('mlflow', run(tmp_path))
  tracker.log({1: ROUNDS[1]})
  tracker.end({}, (), finished=False)
  again = trackers.begin('mlflow', run(tmp_path, identity=tracker.identity))
  again.log(ROUNDS)
  (tmp_path / 'report.html').write_text('page')
  again.end({'evaluation/accuracy': 0.5}, [tmp_path / 'report.html'], finished=True)
  client = mlflow.MlflowClient(tracking_uri=(tmp_path / 'tracking' / 'mlruns').as_uri())
  found = client.get_run(tracker.identity)
  assert found.info.status == 'FINISHED' and found.info.run_name == 'a run'
  assert found.data.params == {'rounds': '3', 'model': 'mlp'} and found.data.metrics['final/evaluation/accuracy'] == 0.5
  assert [(one.step, one.value) for one in client.get_metric_history(tracker.identity, 'train/loss')] == [
      (1, 2.0), (2, 1.0)]
  assert [one.path for one in client.list_artifacts(tracker.identity)] == ['report.html']


def test_mlflow_tells_no_time_of_a_private_run(tmp_path):
  mlflow = pytest.importorskip('mlflow')
  tracker = trackers.begin('mlflow', run(tmp_path, timeless=True))
  tracker.log(ROUNDS)
  tracker.end({'evaluation/accuracy': 0.5}, (), finished=True)
  client = mlflow.MlflowClient(tracking_uri=(tmp_path / 'tracking' / 'mlruns').as_uri())
  info = client.get_run(tracker.identity).info
  times = {one.timestamp for name in ('round', 'train/loss', 'final/evaluation/accuracy')
           for one in client.get_metric_history(tracker.identity, name)}
  assert times == {1} and info.start_time == info.end_time == 1


def test_wandb_writes_offline_without_what_it_adds_by_itself(tmp_path):
  pytest.importorskip('wandb')
  tracker = trackers.begin('wandb', run(tmp_path))
  tracker.log(ROUNDS)
  (tmp_path / 'report.html').write_text('page')
  tracker.end({'evaluation/accuracy': 0.5}, [tmp_path / 'report.html'], finished=True)
  names = [str(path.relative_to(tmp_path / 'tracking' / 'wandb')) for path in (tmp_path / 'tracking').rglob('*')
           if path.is_file() and not path.is_symlink()]
  (record,) = [path for path in (tmp_path / 'tracking').rglob('*.wandb') if not path.is_symlink()]
  deadline = time.monotonic() + 30  # The client's own process writes it, a little after the run has ended.
  while not (content := record.read_bytes()) and time.monotonic() < deadline:
    time.sleep(0.1)
  assert f'run-{tracker.identity}.wandb' == record.name and b'evaluation/accuracy' in content and b'mlp' in content
  added = ('output.log', 'wandb-metadata.json', '.patch', '.py', 'requirements.txt')
  assert not [name for name in names if name.endswith(added)], names
