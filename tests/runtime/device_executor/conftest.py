"""Both executors: TFF's own, and the device executor, which is served by this process."""

import grpc
import pytest

from tests.federation import guarded
from tests.runtime.device_executor import conversation


@pytest.fixture(scope='session', name='own_address')
def _own_address():
  """The address of `worker_binary`."""
  with guarded.executor() as address:
    yield address


@pytest.fixture(scope='session', name='device_address')
def _device_address():
  """The address of a device executor with two lanes on the processor."""
  from tff_vision.runtime.device import copies, interpreter, lanes
  from tff_vision.runtime.device_executor import service
  runs = interpreter.Interpreter(lanes.Lanes(['CPU:0'], 2, lambda *told: None), copies.Copies())
  with service.served(runs, '0.0.0.0:0') as port:
    yield f'127.0.0.1:{port}'
  runs.close()


@pytest.fixture(scope='session', name='own')
def _own(own_address):
  with grpc.insecure_channel(own_address) as channel:
    yield conversation.Caller(channel)


@pytest.fixture(scope='session', name='device')
def _device(device_address):
  with grpc.insecure_channel(device_address) as channel:
    yield conversation.Caller(channel)
