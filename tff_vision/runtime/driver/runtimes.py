"""The runtimes by name."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from tff_vision import catalogue
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import context, one_executor

RUNTIMES: Mapping[str, Callable[[runtime_config.RuntimeConfig], contextlib.AbstractContextManager]] = (
    catalogue.Loaded('runtime'))


@contextlib.contextmanager
def open_runtime(config: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig()  # noqa: B008  Frozen.
                 ) -> Iterator[one_executor.OneExecutorContext | context.WorkersContext]:
  """Makes TFF computations in the `with` block run where `config` says.

  Raises:
    ValueError: Fewer than min_workers answer; a certificate is refused.
    RuntimeError: A local executor does not start.
  """
  with RUNTIMES[config.runtime](config) as opened:
    yield opened
