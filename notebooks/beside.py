"""What the notebooks share: pipelines run as commands of an interpreter beside the kernel, results read from files.

TensorFlow Federated needs Python 3.11; a hosted kernel is often newer. So nothing here imports it: any kernel with
numpy and matplotlib will do.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def python() -> str:
  """Returns the interpreter of the project's environment, which is made from the lock if it is not there yet."""
  if chosen := os.environ.get('TFF_VISION_PYTHON'):
    return chosen
  found = ROOT / '.venv' / 'bin' / 'python'
  if not found.exists():
    print('Making .venv with Python 3.11 from the lock: some minutes, once.')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', 'uv'], check=True)
    subprocess.run([sys.executable, '-m', 'uv', 'venv', '--quiet', '--python', '3.11', str(ROOT / '.venv')], check=True)
    subprocess.run([sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--python', str(found), '--no-deps',
                    '-r', str(ROOT / 'requirements.txt')], check=True)
  return str(found)


def begin(notebook: str) -> str:
  """Returns the folder, in the checkout, for this notebook's runs; those of an earlier execution are deleted."""
  folder = pathlib.Path('runs') / f'notebook_{notebook}'
  shutil.rmtree(ROOT / folder, ignore_errors=True)
  (ROOT / folder).mkdir(parents=True)
  return str(folder)


def run(command: str) -> None:
  """Runs `python -m COMMAND` from the checkout and prints what it says; an error ends with its sentence."""
  done = subprocess.run([python(), '-m', *shlex.split(command)], cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                        env=os.environ | {'TF_CPP_MIN_LOG_LEVEL': '3', 'COLUMNS': '100'})
  print(done.stdout.strip())
  if done.returncode:  # Without this, stderr holds the progress bar.
    print(done.stderr.strip().splitlines()[-1])


def report(run_dir: str) -> dict:
  """Returns report.json of a run."""
  return json.loads((ROOT / run_dir / 'report.json').read_text())


def curve(found: dict, *names: str) -> tuple[list[int], list[float]]:
  """Returns rounds and values of one number of the history, such as ('evaluation', 'accuracy')."""
  points = []
  for record in found['history']:
    value = record
    for name in names:
      value = value.get(name) if value else None
    if value is not None:
      points.append((record['round'], value))
  return [point[0] for point in points], [point[1] for point in points]
