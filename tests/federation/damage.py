"""Damages a file of a federation in every way, and runs a pipeline's `main` on each.

One process runs all damages of one pipeline, because TensorFlow takes seconds to start.
"""

import importlib.util
import json
import pathlib
import re
import sys

from absl import flags

from pipelines import launch
from tff_vision.federation import site_manifest

# What the files have in common is that they say their version.
_VERSION = re.compile(r'"version": \d+')


def _other_version(value):
  return lambda text: _VERSION.sub(lambda _: f'"version": {value}', text, count=1).encode()


DAMAGES = {
    'missing': None, 'empty': lambda text: b'', 'truncated': lambda text: text[:len(text) // 2].encode(),
    'a list': lambda text: b'[1]', 'a number': lambda text: b'7', 'a text': lambda text: b'"plan"',
    'null': lambda text: b'null', 'no names': lambda text: b'{}',
    'not UTF-8': lambda text: b'\xff\xfe' + text.encode(),
    'deep': lambda text: b'[' * 100_000,
    'deep inside': _other_version('[' * 900 + ']' * 900),
    'a huge number': _other_version('1' + 400 * '0'), 'a longer number': _other_version('1' + 5000 * '0'),
    'not a number': _other_version('NaN'), 'infinite': _other_version('-Infinity'),
    'too large': _other_version('1e999'),
    'a fraction': _other_version('1.5'), 'true': _other_version('true'), 'nothing': _other_version('null'),
    'a name twice': _other_version('1, "version": 1'), 'half of a character': _other_version('"\\ud800"'),
    'another name': lambda text: text.replace('"version"', '"Version"', 1).encode(),
    'a folder': 'folder'}


def damage(path: pathlib.Path, text: str, how):
  if path.is_dir():
    path.rmdir()
  path.unlink(missing_ok=True)
  if how == 'folder':
    path.mkdir()
  elif how is not None:
    path.write_bytes(how(text))


def main(pipeline: str, file: str, *arguments: str) -> None:
  """Prints damage -> what was said, as JSON; of an error that is no sentence, its type before it."""
  # What the script hands over to `launch`, which would define the flags again and end the process.
  told = {}
  launch.launch = lambda main, **given: told.update(main=main, **given)
  source = pathlib.Path(importlib.util.find_spec(f'pipelines.{pipeline}').origin)
  exec(compile(source.read_text(), source, 'exec'), {'__name__': '__main__', '__file__': str(source)})
  launch.define(told['flag_groups'])
  path = pathlib.Path(file)
  text, found = path.read_text(), {}
  for name, how in DAMAGES.items():
    if how is None and path.name == site_manifest.NAME:
      continue  # Without it, records are somebody else's and not checked: a worker would serve.
    damage(path, text, how)
    for flag in flags.FLAGS:
      flags.FLAGS[flag].unparse()
    flags.FLAGS([pipeline, *arguments])
    try:
      told['main']()
      found[name] = 'nothing was said'
    except ValueError as error:
      found[name] = str(error)
    except BaseException as error:
      found[name] = f'{type(error).__name__} {error}'
  print(json.dumps(found))


if __name__ == '__main__':
  main(*sys.argv[1:])
