"""Clients are computed where they are said to be: on several devices, operation by operation, and on fewer if one is
too small."""

import json

import numpy as np

from tests import forked, tiny
from tests.learning import tiny_experiments


def test_clients_are_on_the_devices_with_all_their_operations_until_one_has_too_little_memory(tff_runtime):
  trainer = tiny_experiments.experiment('fedavg', builder=tiny.two_layers, sizes=(7, 12, 3, 9, 8, 8)).prepare()
  state, expected = trainer.begin(), []
  for round_num in (1, 2):
    state = trainer.next(state, round_num, range(6)).state
    expected.append(tiny_experiments.flat(trainer.weights(state).trainable))

  done = forked.run(['-m', 'tests.runtime.device.logical'], timeout=200)
  assert not done.returncode, done.stderr
  first, second = json.loads(done.stdout.splitlines()[-1])
  for found, weights in zip((first, second), expected, strict=True):
    np.testing.assert_allclose(found['model'], weights, rtol=0, atol=1e-6)
    assert len(found['clients']) == 6
    for client in found['clients']:
      assert all(name.endswith(client['device']) for name in client['results']), client
  assert {client['device'] for client in first['clients']} == {'CPU:1', 'CPU:2'} and not first['faults']
  placed = {name: {device.rpartition('device:')[2] for device in devices}
            for name, devices in first['operations'].items()}
  assert len(placed) > 50 and any('MatMul' in name for name in placed)
  assert all(devices == {'CPU:1', 'CPU:2'} for devices in placed.values()), placed
  assert {client['device'] for client in second['clients']} == {'CPU:1'}
  [(worker, reason)] = second['faults']
  assert worker == 'CPU:2' and '1 are computed at a time' in reason
