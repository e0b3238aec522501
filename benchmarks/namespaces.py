"""Workers in network namespaces of their own on this machine, with delay and loss on the wire where Linux has netem."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence

_PORT = 8000
_HEALTH_PORT = 8080


def available() -> bool:
  """Returns whether namespaces can be made here: this needs root and iproute2."""
  return os.getuid() == 0 and shutil.which('ip') is not None


@contextlib.contextmanager
def workers(count: int, *, options: Sequence[str], delay_ms: float, loss_percent: float
            ) -> Iterator[tuple[list[str], bool]]:
  """Runs `count` workers, each with its own network.

  Args:
    count: Number of workers.
    options: Flags of `pipelines.worker`.
    delay_ms: Delay that is added in each direction of the wire.
    loss_percent: Share of packets lost in each direction, in percent.

  Yields:
    The addresses of the workers, and whether delay and loss are in force.
  """
  with contextlib.ExitStack() as stack:
    addresses, shaped = [], True
    for number in range(count):
      host = stack.enter_context(_namespace(number))
      shaped = _shape(number, delay_ms, loss_percent) and shaped
      stack.enter_context(_worker(number, host, options))
      addresses.append(f'{host}:{_PORT}')
    yield addresses, shaped


@contextlib.contextmanager
def _namespace(number):
  """Makes one namespace, connected to this one by a pair of interfaces; yields its address."""
  name, wire = f'tffscale{number}', f'tffscale{number}'
  here, there = f'10.213.{number}.1', f'10.213.{number}.2'
  inside = ['netns', 'exec', name, 'ip']
  _ip('netns', 'add', name)
  try:
    # Some versions of Linux and iproute2 refuse to make the other end in the namespace if there is an eth0 here.
    _ip('link', 'add', wire, 'type', 'veth', 'peer', 'name', f'{wire}_in')
    _ip('link', 'set', f'{wire}_in', 'netns', name, 'name', 'eth0')
    _ip('addr', 'add', f'{here}/30', 'dev', wire)
    _ip('link', 'set', wire, 'up')
    _ip(*inside, 'addr', 'add', f'{there}/30', 'dev', 'eth0')
    for device in ('eth0', 'lo'):
      _ip(*inside, 'link', 'set', device, 'up')
    yield there
  finally:
    _ip('netns', 'del', name)


def _shape(number, delay_ms, loss_percent):
  """Adds delay and loss at both ends of the wire; returns False if this Linux cannot."""
  if not delay_ms and not loss_percent:
    return True
  rule = ['netem', 'delay', f'{delay_ms}ms', 'loss', f'{loss_percent}%']
  ends = ([], f'tffscale{number}'), (['ip', 'netns', 'exec', f'tffscale{number}'], 'eth0')
  done = [subprocess.run([*prefix, 'tc', 'qdisc', 'add', 'dev', device, 'root', *rule], capture_output=True,
                         check=False).returncode for prefix, device in ends]
  return not any(done)


@contextlib.contextmanager
def _worker(number, host, options):
  command = ['ip', 'netns', 'exec', f'tffscale{number}', sys.executable, '-m', 'pipelines.worker', f'--host={host}',
             f'--port={_PORT}', f'--health_port={_HEALTH_PORT}', *options]
  process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, cwd=pathlib.Path(__file__).parents[1])
  try:
    _wait_until_healthy(host)
    yield
  finally:
    process.terminate()
    process.wait(30)


def _wait_until_healthy(host):
  deadline = time.monotonic() + 60
  while True:
    try:
      return urllib.request.urlopen(f'http://{host}:{_HEALTH_PORT}/', timeout=2).close()
    except OSError:
      if time.monotonic() > deadline:
        raise
      time.sleep(0.2)


def _ip(*words):
  done = subprocess.run(['ip', *words], capture_output=True, text=True, check=False)
  if done.returncode:
    raise ValueError(f'ip {" ".join(words)}: {done.stderr.strip()}')
