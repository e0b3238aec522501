"""Checks whether this machine can run the project: one line a check, the mend beside what is wrong.

    python -m pipelines.doctor [--json=FILE]

`ok` is as it should be, `info` is absent and wanted by some runs only, `warn` works or works worse than it could,
`FAIL` means that a run would fail; the exit code is 1 if there is a FAIL. docs/how-to/troubleshooting.md explains each
check.
"""

import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

from flags import program_flags
from pipelines import launch
from tff_vision.diagnosis import environment, gpu, libraries, machine, workers
from tff_vision.diagnosis.finding import Finding, Status
from tff_vision.program import json_file

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def dataset_findings() -> list[Finding]:
  """Returns which data sets are on this machine; for a missing one, the finding says how to get it."""
  from tff_vision.data.sources import installed
  return [Finding(f'data {name}', Status.OK, where) if present
          else Finding(f'data {name}', Status.INFO, 'not on this machine', where)
          for name, present, where in installed.report()]


# Cheap checks come first: their findings explain why a later check fails.
CHECKS: dict[str, Callable[[], Finding | list[Finding]]] = {
    'environment': lambda: environment.environment_findings(_ROOT),
    'protobuf': lambda: libraries.protobuf_finding(libraries.try_code(libraries.PROTOBUF)),
    'tfds': lambda: libraries.import_finding('tfds', libraries.try_code(libraries.TENSORFLOW_DATASETS)),
    'tensorflow': lambda: libraries.import_finding('tensorflow', libraries.try_code(libraries.TENSORFLOW_FEDERATED)),
    'worker': workers.worker_finding,
    'leftovers': lambda: workers.leftovers_finding(workers.running_workers()),
    'cores': lambda: machine.cores_finding(machine.usable_cores()),
    'memory': lambda: machine.memory_finding(machine.free_memory()),
    'gpu': gpu.findings,
    'datasets': dataset_findings,
}


def run_checks(checks: dict[str, Callable[[], Finding | list[Finding]]]) -> Iterator[Finding]:
  """Runs each check; a check that raises an exception becomes a finding, so that the other checks still run."""
  for name, check in checks.items():
    try:
      found = check()
    except Exception as error:  # A broken environment may raise anything.
      found = Finding(name, Status.FAIL, f'the check broke: {type(error).__name__}: {error}',
                      'mend the failures above first')
    yield from found if isinstance(found, list) else [found]


def as_json(findings: Sequence[Finding]) -> dict:
  """Returns the findings with stable keys: `fit`, and `findings` with `name`, `status`, `message` and `mend`."""
  return {'fit': all(finding.status is not Status.FAIL for finding in findings),
          'findings': [{'name': finding.name, 'status': finding.status.value, 'message': finding.message,
                        'mend': finding.mend} for finding in findings]}


def main() -> None:
  findings = []
  for finding in run_checks(CHECKS):
    print(finding.line(), flush=True)
    findings.append(finding)
  report = as_json(findings)
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), report)
  if not report['fit']:
    sys.exit(1)


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
