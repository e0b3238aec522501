"""The console command: `tff-vision train --rounds=5` is `python -m pipelines.train --rounds=5`."""

import pathlib
import runpy
import sys

from pipelines import nearest

_NO_PIPELINES = ('__init__', 'cells', 'command', 'flagfiles', 'helptext', 'launch', 'nearest', 'progress', 'search')


def main() -> None:
  """Runs the pipeline that the first argument names, and exits with its exit code."""
  names = sorted(path.stem for path in pathlib.Path(__file__).parent.glob('*.py') if path.stem not in _NO_PIPELINES)
  name = sys.argv[1] if len(sys.argv) > 1 else '--help'
  if name in ('--help', '-h', 'help'):
    print('tff-vision PIPELINE [--flag=value ...]\n\nPipelines: ' + ', '.join(names) +
          '.\n`tff-vision PIPELINE --help` lists its flags; `tff-vision --version` prints the version.')
    return
  if name == '--version':
    import tff_vision
    print(tff_vision.__version__)
    return
  if name not in names:
    print(f'tff-vision: error: there is no pipeline {name!r}; choose from {", ".join(names)}.'
          f'{nearest.question(nearest.names(name, names))}', file=sys.stderr)
    sys.exit(2)
  sys.argv[:2] = [f'{pathlib.Path(__file__).parent / name}.py']
  runpy.run_module(f'pipelines.{name}', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main()
