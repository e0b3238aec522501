"""The Python that runs each system: ours, or one of a virtual environment made from a pinned file."""

import hashlib
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
_ENVIRONMENTS = HERE.parent.parent / 'build' / 'peers'


def python_of(system: str) -> str:
  """Returns the interpreter for a system; first makes its environment if none exists for the current pinned file.

  Raises:
    ValueError: The packages cannot be installed.
  """
  pins = HERE / f'{system}.txt'
  if not pins.exists():
    return sys.executable
  folder = _ENVIRONMENTS / f'{system}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}'
  python = folder / 'bin' / 'python'
  complete = folder / 'complete'
  if not complete.exists():
    print(f'making {os.path.relpath(folder)} from {os.path.relpath(pins)} ...', flush=True)
    subprocess.run([sys.executable, '-m', 'venv', '--clear', str(folder)], check=True)
    done = subprocess.run([str(python), '-m', 'pip', 'install', '--quiet', '-r', str(pins)], check=False)
    if done.returncode:
      raise ValueError(f'the packages of {os.path.relpath(pins)} cannot be installed; leave {system} out of systems.')
    complete.touch()
  return str(python)
