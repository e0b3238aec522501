"""pipelines.train on workers in processes of their own: the driver is killed, and the run goes on."""

import contextlib

import numpy as np
import pytest

from tests.pipelines import test_train
from tests.runtime import workers

pytestmark = [workers.needs_nginx, workers.needs_sandbox]


@pytest.fixture(name='fleet', scope='module')
def _fleet(tmp_path_factory):
  """The options of a run on three workers."""
  folder = tmp_path_factory.mktemp('fleet')
  with contextlib.ExitStack() as stack:
    made = [workers.Worker(folder) for _ in range(3)]
    for worker in made:
      stack.callback(worker.stop)
    addresses = ','.join(worker.wait_until_healthy().address for worker in made)
    yield '--runtime=workers', f'--workers={addresses}'


def test_a_run_whose_driver_was_killed_resumes_on_the_same_workers(trained, fleet, run_pipeline, tmp_path):
  """And ends with the weights of an undisturbed run, which are those of a run on one machine."""
  undisturbed, _ = trained
  run_dir = tmp_path / 'killed'
  assert test_train.killed_run(run_dir, test_train.saved(1), options=fleet) == -9
  done = run_pipeline('train', '--resume', f'--run_dir={run_dir}', *fleet)
  assert done.code == 0, done.err
  for ours, theirs in zip(test_train.weights(run_dir), test_train.weights(undisturbed), strict=True):
    np.testing.assert_array_equal(ours, theirs)
