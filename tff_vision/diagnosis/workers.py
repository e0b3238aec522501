"""Checks that TFF's `worker_binary` runs here, and finds processes that earlier runs left over.

The worker is a C++ gRPC server that executes all computations. Workers that this project starts end with their
program. A worker that TensorFlow Federated's default context starts outlives the program; it holds 0.5 to 2 GB of
memory and keeps the program's output open.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable

from tff_vision.diagnosis import lock
from tff_vision.diagnosis.finding import Finding, Status
from tff_vision.runtime.worker import worker_process

_NAME = 'worker_binary'


def start_worker() -> worker_process.WorkerProcess:
  """Starts the installed worker as a run would, but with one thread."""
  return worker_process.WorkerProcess(threads=1, max_concurrent_clients=1)


def worker_finding(start: Callable[[], worker_process.WorkerProcess] = start_worker) -> Finding:
  """Starts a real worker; it must start, answer over gRPC and end when it is told to stop."""
  begin = time.monotonic()
  try:
    worker = start()
    try:
      worker.wait_until_serving()
      seconds = time.monotonic() - begin
    finally:
      worker.stop()
  except (OSError, RuntimeError) as error:
    return Finding('worker', Status.FAIL, str(error), lock.INSTALL_LOCK)
  if worker.alive():
    return Finding('worker', Status.FAIL, f'pid {worker.pid} does not end', f'kill -9 {worker.pid}')
  return Finding('worker', Status.OK, f'answered after {seconds:.1f} s and ended')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worker:
  """A running worker process.

  Attributes:
    pid: Its process id.
    parent: The file name of its parent's executable. A worker whose program has ended is adopted by init.
    resident: Bytes of memory it holds.
  """
  pid: int
  parent: str
  resident: int


def _executable(process) -> str:
  import psutil
  try:
    return pathlib.Path(process.exe()).name if process else 'nobody'
  except psutil.AccessDenied:  # The executable of another user's process is hidden, but its name is not.
    return process.name()


def running_workers() -> list[Worker]:
  """Returns all visible worker processes of this machine, ordered by process id."""
  import psutil
  found = []
  for process in psutil.process_iter():
    try:
      if process.name() != _NAME or process.status() == psutil.STATUS_ZOMBIE:
        continue
      found.append(Worker(pid=process.pid, parent=_executable(process.parent()), resident=process.memory_info().rss))
    except psutil.Error:  # It ended during the check, or its owner hides it.
      continue
  return found


def leftovers_finding(workers: Iterable[Worker]) -> Finding:
  """Finds workers whose parent is no longer a Python program, but init or a supervisor that adopts orphans."""
  workers = list(workers)
  left = [worker for worker in workers if 'python' not in worker.parent.lower()]
  if not left:
    return Finding(name='leftovers', status=Status.OK, message=f'none ({len(workers)} workers in use)')
  told = ', '.join(f'pid {worker.pid} holds {worker.resident / 1e6:.0f} MB under {worker.parent}' for worker in left)
  return Finding(name='leftovers', status=Status.WARN, message=f'workers without their program: {told}',
                 mend=f'kill {" ".join(str(worker.pid) for worker in left)} (unless you started them on purpose)')
