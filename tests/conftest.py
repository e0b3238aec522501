"""One TFF runtime for the whole session: starting an executor and importing TFF are what tests pay most for."""

import builtins
import gc
import io
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# XLA reads them once in a process, and a test that compiles something else may come first.
os.environ.setdefault('XLA_FLAGS', '--xla_cpu_enable_fast_min_max=false --xla_gpu_enable_fast_min_max=false')

import hypothesis
import pytest

# TensorFlow's modules and graphs are objects that stay; pipelines.launch does the same.
gc.set_threshold(100_000, 50, 100)
# A busy machine is no failure: no test is timed. Where a change is judged, the same commit gets the same examples; at a
# desk the search goes on.
hypothesis.settings.register_profile('tff_vision', deadline=None, derandomize='TFF_VISION_CI_RUN' in os.environ)
hypothesis.settings.load_profile('tff_vision')


@pytest.fixture(scope='session')
def tff_runtime():
  """Runs TFF computations of the session on one local executor."""
  from tff_vision.runtime.driver import local
  with local.local_runtime() as worker:
    yield worker


@pytest.fixture(scope='session', autouse=True)
def _no_unused_executor():
  """Drops TFF's own default context, whose finalizer prints a traceback at interpreter exit."""
  yield
  import sys
  if 'tensorflow_federated' in sys.modules:
    from tff_vision.runtime.driver import closed
    closed.close()


@pytest.fixture
def opened_paths(monkeypatch):
  """The paths that Python opens during the test, as texts, in order."""
  opened, real = [], builtins.open

  def noting(path, *rest, **more):
    opened.append(str(path))
    return real(path, *rest, **more)

  monkeypatch.setattr(builtins, 'open', noting)
  monkeypatch.setattr(io, 'open', noting)
  return opened
