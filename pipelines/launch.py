"""What every pipeline's command line shares: quick help in groups with titles, and errors as one sentence."""

import errno
import gc
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from flags import groups
from pipelines import flagfiles, helptext, nearest, progress
from tff_vision.configs import validate
from tff_vision.data.sources import fetch

_NO_PATH = ('finding_separator',)
# What absl says in Python's words of a value -> what the value must be.
_KINDS = {'invalid literal for int': 'a whole number', 'could not convert string': 'a number such as 0.5',
          "('Non-boolean": 'true or false'}
_WRITTEN = ('json', 'output', 'picture')  # Flags that name a file that is written at the end, possibly hours later.


def launch(main: Callable[..., None], *, flag_groups: Sequence[groups.Group], shown: Sequence[groups.Group] = (),
           takes_files: bool = False, prints: Sequence[str] = (), defaults: Any = None) -> None:
  """Parses flags, runs `main`, and exits: 0 when it returns, 1 with one sentence on bad input.

  `absl.app.run` could parse the flags, but it is not used here: for a fast --help TensorFlow is imported inside `main`,
  and TensorFlow imported below `absl.app.run` builds Keras models in the style of TensorFlow 1.

  Args:
    main: Raises ValueError for a user's mistake, and OSError for a file that cannot be read or written.
    flag_groups: The script's flags that are fields of configs; the script may define other flags itself.
    shown: The groups of these that --help shows; empty: all groups.
    takes_files: Whether `main` takes the arguments that are not flags.
    prints: The flags that name a file to write, for which - is standard output.
    defaults: The config that flags change, if it is not that of the fields' own defaults; for --help.
  """
  define(flag_groups)
  if (word := helptext.wanted(sys.argv[1:])) is not None:
    _help(word, shown or flag_groups, defaults)
  _collect_late()
  try:
    arguments = flags.FLAGS([sys.argv[0], *flagfiles.expanded(sys.argv[1:])])[1:]
    arguments = [os.path.expanduser(argument) for argument in arguments]
    _expand_home()
    if arguments and not takes_files:
      raise ValueError(f'unexpected argument {arguments[0]!r}; every setting is a flag, see --help.')
    _refuse_empty()
    _refuse_what_cannot_be_written(prints)
    with fetch.showing(progress.Downloads()):
      main(arguments) if takes_files else main()
  except flags.UnrecognizedFlagError as error:
    _fail(nearest.of_flag(error, set(flags.FLAGS)))
  except flags.Error as error:
    _fail(_of_value(str(error)) or str(error).rstrip('.') + '. See --help.')
  except ValueError as error:
    _fail(str(error))
  except OSError as error:
    if _disk_is_full(error):
      _fail('the disk is full' + (f' ({error.filename})' if error.filename else '') +
            '. Make room; a run that has begun goes on with --resume --run_dir=DIR.')
    if error.filename is None:
      raise
    _fail(f'{error.filename or "disk"}: {error.strerror}.')
  except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
  except Exception as error:
    if not _disk_is_full(error):
      raise
    _fail('the disk is full. Make room; a run that has begun goes on with --resume --run_dir=DIR.')
  finally:
    _forget_unused_executor()
    gc.freeze()  # At its end Python looks for garbage once more, which among TensorFlow's objects takes over a second.


def _collect_late():
  """Has Python look for garbage for the first time when a run has begun, and then seldom.

  TensorFlow's modules and graphs are more than a million objects that stay. Python's own thresholds would have them
  looked through again and again while they are made, which is a sixth of the time until the first round.
  """
  def first(phase, info):
    del phase, info
    gc.callbacks.remove(first)
    gc.set_threshold(100_000, 50, 100)
  gc.callbacks.append(first)
  gc.set_threshold(2_000_000, 50, 100)


def _help(word, flag_groups, defaults):
  """Prints the help and exits; also if whoever reads it, such as `head`, has read enough."""
  try:
    helptext.show(sys.modules['__main__'], flag_groups, word, defaults=defaults)
    sys.stdout.flush()
  except ValueError as error:
    _fail(str(error))
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  sys.exit(0)


def _of_value(said):
  """Returns the sentence for a value of another kind than a flag's, from absl's message; '' for other messages."""
  found = re.match(r'flag --(\w+)=(.*): (value should be one of <|invalid literal for int|could not convert string|'
                   r"\('Non-boolean)", said, re.DOTALL)
  if found is None:
    return ''
  name, value, reason = found.groups()
  if reason in _KINDS:
    return f'{name} must be {_KINDS[reason]}, found {value!r}.'
  try:
    validate.one_of(flags.FLAGS[name].parser.enum_values, **{name: value})
  except ValueError as error:
    return str(error)
  return ''


def define(flag_groups: Sequence[groups.Group]) -> None:
  """Defines the flags of a script."""
  groups.define(flag_groups)


def _refuse_empty():
  """Refuses a text that is empty, as a shell leaves it of a variable that is not set; as a path it would be the working
  folder.

  Flags of configs are left to these.
  """
  for flag in flags.FLAGS.flags_by_module_dict().get(sys.argv[0], ()):
    if flag.present and flag.value == '':
      raise ValueError(f'{flag.name} is empty: give it a value, or leave it out.')


def _refuse_what_cannot_be_written(prints):
  for name in _WRITTEN:
    path = flags.FLAGS[name].value if name in flags.FLAGS else None
    if path == '-' and name not in prints:
      raise ValueError(f'{name}=- is no file: this pipeline does not write it to standard output.')
    if path not in (None, '-'):
      validate.writable_file(**{name: path})


def _expand_home():
  """Replaces ~ by the home folder, because shells do not expand it in --flag=~/folder."""
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    if not flag.present or name in _NO_PATH:
      continue
    if isinstance(flag.value, str):
      flag.value = os.path.expanduser(flag.value)
    elif isinstance(flag.value, list):
      flag.value = [os.path.expanduser(part) if isinstance(part, str) else part for part in flag.value]


def _disk_is_full(error):
  """Returns whether a file system was full, whichever library raised the error."""
  while error is not None:
    if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT) or any(
        sign in str(error) for sign in ('No space left on device', 'Disk quota exceeded')):
      return True
    error = error.__cause__ or error.__context__
  return False


def _fail(sentence):
  print(f'{pathlib.Path(sys.argv[0]).stem}: error: {sentence}', file=sys.stderr)
  sys.exit(1)


def _forget_unused_executor():
  """Drops the context that the import of TFF installs; otherwise its collection at interpreter exit prints a traceback.
  """
  if 'tensorflow_federated' in sys.modules:
    from tff_vision.runtime.driver import closed
    closed.close()
