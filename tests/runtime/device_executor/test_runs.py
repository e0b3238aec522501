"""Runs over device executors: the weights of TFF's own executor, within its rounding, also past guards."""

import numpy as np
import pytest

from tests.federation import guarded
from tff_vision import configs
from tff_vision.federation import rehearsal
from tff_vision.secure import os_keys

# TensorFlow fuses some operations in functions that a session does not fuse, and rounds once less.
_ROUNDING = 1e-6
_CASES = {
    'fedavg': {},
    'scaffold': {'algorithm': configs.AlgorithmConfig(algorithm='scaffold')},
    'example_dp_sgd': guarded.EXAMPLE_DP,
    'distributed_gaussian': {**guarded.MASKS, 'privacy': configs.PrivacyConfig(
        privacy='distributed_gaussian', clip_norm=1.0, noise_multiplier=1.0)},
    'he': guarded.HE,
    'masks': guarded.MASKS,
}


@pytest.fixture(scope='module', name='folder')
def _folder(tmp_path_factory):
  return guarded.data_folder(tmp_path_factory)


@pytest.mark.ci
@pytest.mark.parametrize('name', _CASES)
def test_the_weights_are_those_of_worker_binary(folder, own_address, device_address, tmp_path, known_keys, name):
  plan = guarded.plan(folder, **_CASES[name])
  theirs, ours = (guarded.trained(plan, guarded.three_names(address), tmp_path)
                  for address in (own_address, device_address))
  assert not theirs[1] and not ours[1]
  for own, device in zip(theirs[0], ours[0], strict=True):
    np.testing.assert_allclose(own, device, rtol=0, atol=_ROUNDING)


def test_keys_of_the_kernel_are_fresh_in_every_call(device):
  import tensorflow_federated as tff

  from tests.runtime.device_executor import conversation as say
  drawn = say.compiled(tff.tensorflow.computation(lambda: os_keys.kernel_keys(3)))
  found = [np.frombuffer(device.ran(drawn).array.content, np.uint32).reshape(3, 8) for _ in range(3)]
  assert len({row.tobytes() for row in np.concatenate(found)}) == 9


def test_a_guard_passes_an_honest_run_and_counts_the_bytes_that_were_approved(folder, own_address, device_address,
                                                                             tmp_path):
  """The approval was made with TFF's executor; the site runs the other one behind its guard."""
  plan = guarded.plan(folder)
  rehearsed = rehearsal.rehearse(plan)
  approvals = guarded.approved(plan, rehearsed, tmp_path)
  watches, logs, own = guarded.enforced(approvals, tmp_path)
  with guarded.sites(device_address, watches, logs, own) as addresses:
    through, faults = guarded.trained(plan, addresses, tmp_path)
  assert not faults and all(watch.begun[rehearsal.ROUND] == 2 for watch in watches)
  direct, _ = guarded.trained(plan, guarded.three_names(own_address), tmp_path)
  assert all(np.abs(a - b).max() < _ROUNDING for a, b in zip(direct, through, strict=True))
  assert all(0 < log.bytes_out <= one.rules().most_bytes for log, one in zip(logs, approvals, strict=True))
