"""Reads flag files in the encodings that editors write: byte-order mark, CRLF, or an encoding other than UTF-8."""

import codecs
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

_DIRECTIVE = re.compile(r'--?flagfile(?:=(.*))?$', re.DOTALL)


def expanded(arguments: Sequence[str]) -> list[str]:
  """Returns a command line in which flag files are replaced by their flags; lines that begin with # or // are comments.

  Raises:
    ValueError: A file cannot be read; the message names file and line.
  """
  return list(_expanded(list(arguments), ()))


def _expanded(arguments, above) -> Iterator[str]:
  while arguments:
    argument, *arguments = arguments
    found = _DIRECTIVE.match(argument)
    if argument == '--':
      yield from (argument, *arguments)
      return
    if found is None:
      yield argument
      continue
    name = found.group(1)
    if name is None:
      if not arguments:
        raise ValueError('flagfile names no file.')
      name, *arguments = arguments
    if not name.strip():
      continue
    path = os.path.expanduser(name.strip())
    if path in above:
      raise ValueError(f'flagfile {path} names itself.')
    yield from _expanded(_lines(path), (*above, path))


def _lines(path):
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise ValueError(f'flagfile {path} cannot be read: {error.strerror}.') from None
  wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
  try:
    text = content.decode('utf-16' if wide else 'utf-8-sig')
  except UnicodeDecodeError as error:
    number = content[:error.start].count(b'\n') + 1
    raise ValueError(f'flagfile {path} line {number} is no UTF-8: save the file in that encoding.') from None
  lines = [line.strip() for line in text.splitlines()]
  return [line for line in lines if line and not line.startswith(('#', '//'))]
