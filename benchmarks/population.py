"""Time and memory of runs of many clients: large cohorts, large populations, many rounds.

    python -m benchmarks.population --json=FILE [--parts=cohort:100000,population:1000000] [--runtime=local]

Each part is a run of `pipelines.train` in a process of its own:

    cohort:N       one round of N clients of 20 generated images, linear model
    population:N   three rounds of 1,000 of N such clients, linear model
    private:N      the same under client-level differential privacy: Poisson sampling, clipping, noise, ledger
    writers:N      50 rounds of 10 of N writers of `synthetic_emnist`, a CNN, and what 1,500 such rounds would take

A part that is already in FILE is not measured again, so a measurement that was interrupted goes on. The seconds of
start-up end with the first round's begin; peaks are each process's own, and flat memory means that `cohort` parts and
`population` parts of different sizes have equal ones. Seconds hold for an idle machine only; `load` says what it was.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import origin
from pipelines import launch

_JSON = flags.DEFINE_string('json', None, 'File that holds the numbers of the parts measured so far.')
_PARTS = flags.DEFINE_list('parts', ['cohort:1000', 'population:10000', 'private:10000'], 'What is measured, in order.')
_RUNTIME = flags.DEFINE_string('runtime', 'local', 'As of pipelines.train.')
_WRITERS_ROUNDS, _ALL_ROUNDS = 50, 1500
_GENERATED = ('--dataset=benchmarks.generated_clients:images', '--model=linear', '--client_learning_rate=0.02')
_MANY_ROUNDS = ('--cohort_size=1000', '--rounds=3', '--rounds_per_evaluation=3')


def main() -> None:
  path = None if _JSON.value is None else pathlib.Path(_JSON.value)
  numbers = json.loads(path.read_text()) if path is not None and path.exists() else {'parts': {}}
  numbers['machine'] = origin.measurement()
  for part in _PARTS.value:
    name = f'{part} {_RUNTIME.value}'
    if name not in numbers['parts']:
      numbers['parts'][name] = measured(*_settings(part))
      if path is not None:
        path.write_text(json.dumps(numbers, indent=2) + '\n')
    print(name, json.dumps(numbers['parts'][name]), flush=True)


def _settings(part):
  """Returns the flags of a part, and the number of rounds to which its time is extrapolated; None: it is not."""
  kind, _, number = part.partition(':')
  if kind not in _KINDS or not number.isdecimal():
    raise ValueError(f'parts={part} is none of {", ".join(f"{kind}:N" for kind in _KINDS)}.')
  given, rounds = _KINDS[kind]
  return [*given, f'--num_clients={number}', *([f'--cohort_size={number}'] if kind == 'cohort' else [])], rounds


_KINDS = {
    'cohort': ([*_GENERATED, '--rounds=1'], None),
    'population': ([*_GENERATED, *_MANY_ROUNDS], None),
    'private': ([*_GENERATED, *_MANY_ROUNDS, '--privacy=client_gaussian', '--sampling=poisson', '--clip_norm=1',
                 '--noise_multiplier=1', '--client_weighting=uniform'], None),
    'writers': (['--dataset=synthetic_emnist', '--partition=natural', '--model=cnn_dropout', '--cohort_size=10',
                 f'--rounds={_WRITERS_ROUNDS}', f'--rounds_per_evaluation={_WRITERS_ROUNDS}'], _ALL_ROUNDS)}


def measured(settings: list[str], rounds: int | None) -> dict[str, object]:
  """Runs `pipelines.train` with these flags; returns seconds, and peak megabytes of the driver and of the executor."""
  load = os.getloadavg()[0]
  with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder, 'report.json')
    began = time.monotonic()
    with subprocess.Popen([sys.executable, '-m', 'pipelines.train', *settings, f'--runtime={_RUNTIME.value}',
                           f'--run_dir={folder}/run', f'--json={out}'], stdout=subprocess.DEVNULL) as process:
      peaks = _watched(process)
    took = time.monotonic() - began
    if process.returncode:
      raise ValueError(f'pipelines.train {" ".join(settings)} ended with {process.returncode}.')
    report = json.loads(out.read_text())
    bytes_of_run = sum(file.stat().st_size for file in pathlib.Path(folder, 'run').rglob('*') if file.is_file())
  seconds, trained = report['seconds'], report['seconds']['train']
  found = {
      'flags': ' '.join(settings), 'load': round(load, 1), 'clients': report['dataset']['num_clients'],
      'rounds': report['rounds'], 'seconds': round(took, 1),
      'start_up_seconds': round(took - seconds['total'] + seconds['setup'], 1), 'train_seconds': round(trained, 1),
      'report_bytes': len(json.dumps(report)), 'run_dir_bytes': bytes_of_run,
      **{f'{name}_peak_megabytes': round(peak) for name, peak in peaks.items()}}
  if rounds is not None:
    found['extrapolated_hours'] = round(trained / report['rounds'] * rounds / 3600, 2)
    found['extrapolated_rounds'] = rounds
  return found


def _watched(process):
  """Waits for a process; returns the peak resident megabytes of it and of its children together."""
  import psutil
  peaks: dict[int, float] = {}
  while process.poll() is None:
    try:
      for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        lines = pathlib.Path(f'/proc/{one.pid}/status').read_text().splitlines()
        peaks[one.pid] = max([peaks.get(one.pid, 0.0), *(int(line.split()[1]) / 1024 for line in lines
                                                        if line.startswith('VmHWM'))])
    except (psutil.NoSuchProcess, OSError):
      pass
    time.sleep(0.2)
  driver = peaks.pop(process.pid, 0.0)
  return {'driver': driver, 'executor': max(peaks.values(), default=0.0)}


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
