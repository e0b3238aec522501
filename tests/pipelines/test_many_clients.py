"""Runs of many clients: a few clients' examples are in memory at a time, and a report has no row for each client."""

import json
import weakref

import numpy as np
import pytest

import tff_vision as tv
from benchmarks import generated_clients
from tests.documents import report_paths
from tff_vision import configs
from tff_vision.learning import client_data


@pytest.mark.ci
def test_the_examples_of_one_call_are_in_memory_at_a_time(tff_runtime, monkeypatch):
  """And the sum over a cohort in several calls is that of one call."""
  alive, most, request = set(), [], client_data.SentData.request

  def watched(self, client, round_num):
    made = request(self, client, round_num)
    alive.add(client)
    weakref.finalize(made, alive.discard, client)
    most.append(len(alive))
    return made

  monkeypatch.setattr(client_data.SentData, 'request', watched)
  found = generated_clients.images(configs.DataConfig(dataset='x', num_clients=300))
  trainer = tv.Experiment(tv.Task(found, model='linear'), rounds=1).prepare(tff_runtime)
  state = trainer.begin()
  with tff_runtime.limited(30):
    after = trainer.next(state, 1, range(300))
  assert len(most) == 300 and 30 <= max(most) <= 60, 'those of one call, and at most those of the call before'
  del most[:]
  whole = trainer.next(state, 1, range(300))  # Calls of 100 clients.
  assert max(most) >= 100
  for one, other in zip(trainer.weights(after.state).trainable, trainer.weights(whole.state).trainable, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(one).max() > 1e-3


def longest(content):
  """Returns the length of the longest list or object in a report."""
  inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
  return max([len(inner), *map(longest, inner)])


@pytest.mark.ci
@pytest.mark.parametrize('privacy', [(), ('--privacy=client_gaussian', '--sampling=poisson', '--clip_norm=1',
                                          '--noise_multiplier=1', '--client_weighting=uniform')], ids=['plain', 'dp'])
def test_a_run_of_twelve_thousand_clients(run_pipeline, privacy, tmp_path):
  done = run_pipeline('train', '--dataset=benchmarks.generated_clients:images', '--num_clients=12000', '--rounds=1',
                      '--cohort_size=3000', '--model=linear', '--client_learning_rate=0.02', *privacy,
                      f'--run_dir={tmp_path / "run"}', f'--json={tmp_path / "report.json"}')
  assert done.code == 0, done.err
  report = json.loads((tmp_path / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  assert report['dataset']['num_clients'] == 12_000
  assert report['per_client'] == {'metric': 'accuracy', 'count': 0, 'without_examples': 12_000}
  if privacy:
    assert report['privacy']['epsilon'] > 0 and 'attendance' not in report['history'][0]
  else:
    assert report['history'][0]['cohort_size'] == 3000
    epochs = report['config']['client']['client_epochs']
    assert report['history'][0]['examples'] == 3000 * generated_clients.EXAMPLES * epochs
  assert report['evaluation']['accuracy'] > 0.15
  assert longest(report) < 3000, 'there is a row for each client of the population, or of the round'
  assert (tmp_path / 'run' / 'report.html').stat().st_size < 1_000_000
