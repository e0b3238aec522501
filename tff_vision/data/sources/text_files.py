"""Reads text files that people and spreadsheets write: lists of classes, tables, lists of images."""

import codecs
import pathlib


def read(path: pathlib.Path) -> tuple[str, list[str]]:
  """Returns the text of a file in UTF-8, in UTF-16 with a byte order mark, or else in Windows-1252; and notes.

  Raises:
    ValueError: The file holds a zero byte, or is no UTF-16 although it begins so; the message names it.
  """
  content, notes = path.read_bytes(), []
  if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    try:
      text = content.decode('utf-16')
    except UnicodeDecodeError as error:
      raise ValueError(f'{path} cannot be read as UTF-16, as which it begins: {error.reason}.') from None
  else:
    try:
      text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
      number = content[:error.start].count(b'\n') + 1
      text = content.decode('cp1252', errors='replace')
      lines = text.splitlines()
      notes = [f'{path} is no UTF-8 (line {number}) and was read as Windows-1252, '
               f'{lines[number - 1].strip() if number <= len(lines) else ""!r}; save it as UTF-8 if that is wrong.']
  if '\0' in text:
    number = text[:text.index('\0')].count('\n') + 1
    raise ValueError(f'{path} line {number} is no text: it holds a zero byte. Save it as UTF-8.')
  return text, notes
