"""Audited runs share the session's executor and write no model."""

import contextlib

import pytest


@pytest.fixture
def light(tff_runtime, monkeypatch):
  """What an audit does not look at is left out; runs on workers have workers."""
  from tff_vision.export import keras_export
  from tff_vision.privacy.mechanisms import base
  from tff_vision.program import final_state
  from tff_vision.runtime.driver import runtimes
  open_runtime = runtimes.open_runtime

  @contextlib.contextmanager
  def opened(config):
    if config.runtime == 'local':
      yield tff_runtime
    else:
      with open_runtime(config) as place:
        yield place

  def export(task, weights, folder, evaluator):
    del task, evaluator
    folder.mkdir(exist_ok=True)
    final_state.write_weights(folder, weights)
    return 0.0

  monkeypatch.setattr(runtimes, 'open_runtime', opened)
  monkeypatch.setattr(keras_export, 'export', export)
  monkeypatch.setattr(base.PrivacyPlan, 'final_ledger', lambda self, rounds: self.ledger(rounds))
