"""What tests of federations share: scripts run as their users run them, the files of sites, an executor."""

import pytest

from tests import forked
from tests.federation import guarded


@pytest.fixture
def run_module():
  """Returns run(module, *args) -> the finished process, with its output as text."""
  def run(module, *args, timeout=120):
    return forked.run(['-m', module, *args], timeout=timeout)
  return run


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with the files of the guarded plans' clients."""
  return guarded.data_folder(tmp_path_factory)


@pytest.fixture(scope='module')
def address():
  """The address of an executor, to stand behind guards."""
  with guarded.executor() as found:
    yield found
