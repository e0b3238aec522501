"""The worker of TensorFlow Federated, `worker_binary`: does it run here, and are old ones left over?

The worker is a C++ gRPC server that executes all computations. A program that is killed leaves its worker behind,
with 0.5 to 2 GB of memory and the program's output still open.
"""

import dataclasses
import importlib.util
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence

from tff_vision.diagnosis import lock
from tff_vision.diagnosis.finding import Finding, Status

_NAME = 'worker_binary'
_ANSWER_SECONDS = 60
_END_SECONDS = 20


def worker_binary() -> pathlib.Path:
  """Where the installed worker lies; looks it up without importing TensorFlow Federated.

  Raises:
    ValueError: TensorFlow Federated is not installed, or its worker is not there.
  """
  spec = importlib.util.find_spec('tensorflow_federated')
  if spec is None or spec.origin is None:
    raise ValueError('tensorflow_federated is not installed.')
  path = pathlib.Path(spec.origin).parent / 'data' / _NAME
  if not path.is_file():
    raise ValueError(f'{path} is missing.')
  return path


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


def start_and_stop(command: Sequence[str], answer_seconds: float = _ANSWER_SECONDS) -> float:
  """Starts a worker, waits until its gRPC server takes a connection, ends it with SIGTERM.

  Args:
    command: The worker without its `--port`.
    answer_seconds: How long it may take to answer.

  Returns:
    Seconds until it answered.

  Raises:
    ValueError: It did not start, ended early, did not answer, or outlived SIGTERM; it is dead in any case.
  """
  import grpc
  port = _free_port()
  begin = time.monotonic()
  try:
    process = subprocess.Popen([*command, f'--port={port}'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
  except OSError as error:
    raise ValueError(f'{command[0]} does not start: {error.strerror}.') from error
  try:
    with grpc.insecure_channel(f'localhost:{port}') as channel:
      _wait_for_answer(grpc.channel_ready_future(channel), process, begin + answer_seconds)
    seconds = time.monotonic() - begin
    process.terminate()
    process.wait(_END_SECONDS)
  except subprocess.TimeoutExpired as error:
    raise ValueError(f'the worker did not end within {_END_SECONDS} s of SIGTERM.') from error
  finally:
    process.kill()
    process.wait()
  return seconds


def _wait_for_answer(ready, process: subprocess.Popen, deadline: float) -> None:
  import grpc
  while True:
    if process.poll() is not None:
      raise ValueError(f'the worker ended at once with exit code {process.returncode}.')
    try:
      ready.result(timeout=0.2)
      return
    except grpc.FutureTimeoutError as error:
      if time.monotonic() > deadline:
        raise ValueError('the worker does not answer over gRPC.') from error


def worker_finding(command: Sequence[str] | None = None, answer_seconds: float = _ANSWER_SECONDS) -> Finding:
  """Starts the worker (by default the installed one) for real: it must start, answer and die."""
  try:
    seconds = start_and_stop(command or [str(worker_binary())], answer_seconds)
  except ValueError as error:
    return Finding(name='worker', status=Status.FAIL, message=str(error), mend=lock.INSTALL_LOCK)
  return Finding(name='worker', status=Status.OK, message=f'answered after {seconds:.1f} s, ended on SIGTERM')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worker:
  """A running worker process.

  Attributes:
    pid: Its process id.
    parent: The file name of its parent's executable. A worker that lost its program is adopted by init.
    resident: Bytes of memory it holds.
  """
  pid: int
  parent: str
  resident: int


def _executable(process) -> str:
  import psutil
  try:
    return pathlib.Path(process.exe()).name if process else 'nobody'
  except psutil.AccessDenied:  # Another user's process hides its file, not its name.
    return process.name()


def running_workers() -> list[Worker]:
  """All worker processes of this machine that can be seen, by process id."""
  import psutil
  found = []
  for process in psutil.process_iter():
    try:
      if process.name() != _NAME or process.status() == psutil.STATUS_ZOMBIE:
        continue
      found.append(Worker(pid=process.pid, parent=_executable(process.parent()), resident=process.memory_info().rss))
    except psutil.Error:  # It ended while we looked, or belongs to someone who hides it.
      continue
  return found


def leftovers_finding(workers: Iterable[Worker]) -> Finding:
  """Workers whose parent is not a Python program any more, but init or a supervisor that adopts orphans."""
  workers = list(workers)
  left = [worker for worker in workers if 'python' not in worker.parent.lower()]
  if not left:
    return Finding(name='leftovers', status=Status.OK, message=f'none ({len(workers)} workers in use)')
  told = ', '.join(f'pid {worker.pid} holds {worker.resident / 1e6:.0f} MB under {worker.parent}' for worker in left)
  return Finding(name='leftovers', status=Status.WARN, message=f'workers without their program: {told}',
                 mend=f'kill {" ".join(str(worker.pid) for worker in left)} (unless you started them on purpose)')
