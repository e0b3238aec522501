"""Checks the machine: platform, interpreter, cores, memory. Standard library only, Python 3.9 and later."""

from __future__ import annotations

import os
import pathlib
import platform
import sys

from tff_vision.diagnosis.finding import Finding, Status

_PYTHON = (3, 11)
_DOCKER = 'use the Dockerfile (docs/how-to/install.md, "Other platforms")'
_MIN_GLIBC = (2, 31)  # The tag of TensorFlow Federated's wheel, manylinux_2_31_x86_64.
_MIN_CORES = 2
_MIN_FREE_GIB = 4
_GIB = 2**30
_CGROUP = pathlib.Path('/sys/fs/cgroup')


def platform_finding(system: str | None = None, architecture: str | None = None,
                     libc: tuple[str, str] | None = None) -> Finding:
  """Checks the platform: TensorFlow Federated's only wheel is for Linux on x86-64 with glibc 2.31 or newer.

  Args:
    system: As `platform.system()`, which is the default.
    architecture: As `platform.machine()`, which is the default.
    libc: Name and version as `platform.libc_ver()`, which is the default.
  """
  system = system or platform.system()
  architecture = architecture or platform.machine()
  library, version = libc or platform.libc_ver()
  told = f'{system} {architecture}, {library or "unknown C library"} {version}'.rstrip()
  glibc = tuple(int(part) for part in version.split('.')[:2] if part.isdigit())
  fits = library == 'glibc' and glibc >= _MIN_GLIBC
  if (system, architecture) == ('Linux', 'x86_64') and fits:
    return Finding(name='platform', status=Status.OK, message=told)
  return Finding(name='platform', status=Status.FAIL,
                 message=f'{told}: TensorFlow Federated needs Linux x86_64 with glibc 2.31 or newer', mend=_DOCKER)


def interpreter_finding(version: tuple[int, int] | None = None) -> Finding:
  """Checks Python: TensorFlow Federated 0.87.0 runs on Python 3.9 to 3.11; this project is written for 3.11."""
  major, minor = version or sys.version_info[:2]
  if (major, minor) == _PYTHON:
    return Finding(name='interpreter', status=Status.OK, message=f'Python {major}.{minor}, {sys.executable}')
  return Finding(name='interpreter', status=Status.FAIL,
                 message=f'Python {major}.{minor}, {sys.executable}; TensorFlow Federated 0.87.0 needs Python 3.11',
                 mend='make a Python 3.11 environment and install the lock there (docs/how-to/install.md)')


def usable_cores() -> int:
  """Returns the number of cores that this process may run on."""
  return len(os.sched_getaffinity(0))


def free_memory() -> int:
  """Returns the bytes that this process may still use: the machine's available memory, within the container's limit."""
  fields = dict(line.split(':') for line in pathlib.Path('/proc/meminfo').read_text().splitlines())
  available = int(fields['MemAvailable'].split()[0]) * 1024
  limit, used = _CGROUP / 'memory.max', _CGROUP / 'memory.current'
  if limit.is_file() and used.is_file() and limit.read_text().strip() != 'max':
    available = min(available, int(limit.read_text()) - int(used.read_text()))
  return available


def cores_finding(cores: int) -> Finding:
  """Checks the cores: a worker trains clients in parallel, so with one core the clients wait for each other."""
  if cores >= _MIN_CORES:
    return Finding(name='cores', status=Status.OK, message=f'{cores} usable')
  return Finding(name='cores', status=Status.WARN, message=f'{cores} usable: a run takes about twice as long',
                 mend=f'give it {_MIN_CORES} cores')


def memory_finding(free: int) -> Finding:
  """Compares `free` bytes with the memory that the Python process and one worker use."""
  told = f'{free / _GIB:.1f} GiB free'
  if free >= _MIN_FREE_GIB * _GIB:
    return Finding(name='memory', status=Status.OK, message=told)
  return Finding(name='memory', status=Status.WARN,
                 message=f'{told}; the program and its worker may take {_MIN_FREE_GIB} GiB together',
                 mend='end other programs, or lower --cohort_size and --batch_size')
