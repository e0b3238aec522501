"""What every pipeline's command line shares: quick help grouped by file, and errors as one sentence."""

import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from absl import flags


def launch(main: Callable[[], None], *, flag_modules: Sequence[ModuleType]) -> None:
  """Parses flags, runs `main`, and exits: 0 when it returns, 1 with one sentence on bad input.

  `absl.app.run` would do for the parsing, but TensorFlow imported below it, as it must be for a quick --help,
  builds Keras models in the style of TensorFlow 1.

  Args:
    main: Raises ValueError for a user's mistake.
    flag_modules: Modules that define this script's flags.
  """
  if {'--help', '-h', '-help', '--helpshort', '--helpfull'} & set(sys.argv[1:]):
    _print_help(sys.modules['__main__'], flag_modules)
    sys.exit(0)
  try:
    unexpected = flags.FLAGS(sys.argv)[1:]
    if unexpected:
      raise ValueError(f'unexpected argument {unexpected[0]!r}; every setting is a flag, see --help.')
    main()
  except flags.Error as error:
    _fail(str(error).rstrip('.') + '. See --help.')
  except ValueError as error:
    _fail(str(error))
  except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
  finally:
    _forget_unused_executor()


def _fail(sentence):
  print(f'{pathlib.Path(sys.argv[0]).stem}: error: {sentence}', file=sys.stderr)
  sys.exit(1)


def _forget_unused_executor():
  """Drops the context that importing TFF installs: collected at interpreter exit, it prints a traceback."""
  if 'tensorflow_federated' in sys.modules:
    from tff_vision.runtime import local
    local.close()


def _print_help(script, flag_modules):
  print((script.__doc__ or '').strip() + '\n\nFlags (also --flagfile=FILE, one flag a line):')
  for module in (*flag_modules, script):
    if lines := flags.FLAGS.module_help(module).strip().splitlines()[1:]:
      print(f'\n{os.path.relpath(module.__file__)}:')
      print('\n'.join(line for line in lines if line.strip()))
