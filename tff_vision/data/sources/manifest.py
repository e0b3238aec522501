"""Reads a table of image files: path,label[,client][,patient][,split], columns of 0 and 1, or one of numbers."""

import csv
import io
import os
import pathlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from tff_vision.data.sources import listing, naming, text_files
from tff_vision.data.sources import numbers as numbers_lib

NAME = 'manifest.csv'
_READ = ('path', 'label', 'client', 'split', 'patient')
_BETWEEN = '\x1f'
_TOLD_DELIMITER = re.compile(r'sep=(.)\r?\n')  # A first line as Excel writes it.
_YES, _NO = {'1', '1.0', 'true', 'yes'}, {'0', '0.0', 'false', 'no'}
_MISSING = {'', '-1', '-1.0', 'nan', 'na', 'n/a', 'none', 'null', 'unknown', 'uncertain', '?', '-'}


def find(root: pathlib.Path) -> pathlib.Path | None:
  """Returns the manifest in a folder, or None; upper and lower case in its name do not matter."""
  exact = root / NAME
  return exact if exact.is_file() else next(
      (path for path in sorted(root.iterdir()) if path.name.lower() == NAME and path.is_file()), None)


def read(path: pathlib.Path, target: str | None = None) -> listing.Listing:
  """Lists the images of a manifest; `target` names the column of the number of each, if labels are numbers.

  The encoding may be UTF-8 with or without a byte order mark, UTF-16 with one, or otherwise Windows-1252. Columns are
  separated by commas, semicolons or tabs, and their names may be in any case. If a path with backslashes is not that
  of a file, the backslashes separate folders.

  Raises:
    ValueError: The table or one of its rows is not as required; the message names file and line.
  """
  text, notes = text_files.read(path)
  delimiter = _delimiter(text)
  if told := _TOLD_DELIMITER.match(text):  # The line stays, so that lines keep their numbers.
    text, delimiter = '\n' + text[told.end():], told.group(1)
  reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter)
  rows, numbers = [], []
  try:
    for row in reader:
      if any(cell.strip() for cell in row):
        rows.append(row)
        numbers.append(reader.line_num)
  except csv.Error as error:
    raise ValueError(f'{path} line {reader.line_num} cannot be read: {error}.') from None
  columns = [name.strip().lower() for name in rows[0]] if rows else []
  while columns and not columns[-1]:  # Spreadsheets write separators behind the last column.
    columns.pop()
  if (twice := naming.twice(columns)) is not None:
    raise ValueError(f'{path} names the column {twice} twice.')
  table = [_row(path, number, columns, row) for number, row in zip(numbers[1:], rows[1:], strict=True)]
  if target is not None:
    return _of_numbers(path, columns, table, numbers[1:], target, notes)
  findings = _findings(columns, table)
  names = {name.strip().lower(): name.strip() for name in rows[0]} if rows else {}
  if 'label' not in columns:
    others = {name: names[name] for name in columns if name not in (*_READ, *findings)}
    _refuse_missing(path, others, table, numbers[1:])
  if missing := {'path', 'label'} - set(columns) - ({'label'} if findings else set()):
    raise ValueError(f'{path} lacks the column {", ".join(sorted(missing))}; its first line must name path,label and '
                     'may name client, patient and split.')
  if findings:
    notes.append(f'{len(findings)} columns of 0 and 1 are findings: {", ".join(names[name] for name in findings)}.')
  if unread := set(columns) - set(_READ) - set(findings) - {''}:
    notes.append(f'Columns of {path} that are not read: {", ".join(sorted(unread))}.')
  if not table:
    raise ValueError(f'{path} lists no image.')
  files = _files(path, [name for name in columns if name in _READ], table, numbers[1:])
  labels = [_BETWEEN.join(names[name] for name in findings if row[name].lower() in _YES) if findings else row['label']
            for row in table]
  return listing.Listing(
      paths=files, labels=labels, clients=[row.get('client') for row in table],
      splits=[listing.split_of(row['split']) if 'split' in columns else None for row in table],
      patients=[row['patient'] for row in table] if 'patient' in columns else None,
      separator=_BETWEEN if findings else None, notes=notes)


def _of_numbers(path, columns, table, numbers, target, notes):
  """Returns the images with the number that stands in the column `target`."""
  column = target.strip().lower()
  if missing := {'path', column} - set(columns):
    raise ValueError(f'{path} lacks the column {" and ".join(sorted(missing))}; it has {", ".join(columns)}.')
  read = [name for name in ('path', column, 'client', 'split', 'patient') if name in columns]
  if unread := set(columns) - set(read) - {''}:
    notes.append(f'Columns of {path} that are not read: {", ".join(sorted(unread))}.')
  if not table:
    raise ValueError(f'{path} lists no image.')
  files = _files(path, read, table, numbers)
  texts = [row[column].strip() for row in table]
  values = numbers_lib.parsed(texts, [f'{path} line {number}, column {target}' for number in numbers])
  return listing.Listing(
      paths=files, labels=texts, clients=[row.get('client') for row in table], numbers=values, notes=notes,
      patients=[row['patient'] for row in table] if 'patient' in columns else None,
      splits=[listing.split_of(row['split']) if 'split' in columns else None for row in table])


def _delimiter(text):
  first = next((line for line in text.splitlines() if line.strip()), '')
  return max(',;\t', key=first.count)


def _row(path, number, columns, cells) -> Mapping[str, str]:
  if any(cell.strip() for cell in cells[len(columns):]):
    raise ValueError(f'{path} line {number} has {len(cells)} fields, and the first line names {len(columns)}.')
  if broken := next((cell for cell in cells if '\n' in cell.strip()), None):
    raise ValueError(f'{path} has a field that begins with a quote and goes on to line {number}, '
                     f'{broken.strip()[:40]!r}: a quote is missing, or one is there that should not be.')
  cells = [*cells, *[''] * (len(columns) - len(cells))]
  # Spaces around names are kept here, because `naming.cleaned` counts them.
  return {name: cell if name in ('label', 'client') and cell.strip() else cell.strip()
          for name, cell in zip(columns, cells, strict=False)}


def _findings(columns: Sequence[str], table: Sequence[Mapping[str, str]]) -> list[str]:
  """Returns the columns of a table without labels that contain only 0 and 1."""
  if 'label' in columns or 'path' not in columns:
    return []
  return [name for name in columns if name not in _READ and table
          and all(row[name].lower() in _YES | _NO for row in table)]


def _refuse_missing(path, names, table, numbers):
  """Refuses a column that would be a finding if none of its values were missing: it would be left out of the model.

  Args:
    names: Column -> its name as it is written; of columns that are neither findings nor read.
    numbers: The line of each row of `table`.

  Raises:
    ValueError: With the first such value.
  """
  for name, written in names.items():
    values = [row[name] for row in table]
    known = {value.lower() for value in values}
    if known & _YES and known <= _YES | _NO | _MISSING:
      number, value = next(pair for pair in zip(numbers, values, strict=True) if pair[1].lower() in _MISSING)
      raise ValueError(f'{path} line {number}: the finding {written} is {value!r}, and other lines say 0 or 1. What is '
                       'not known cannot be learned from: say 0 or 1, or leave out the line or the column.')


def _respelt(file):
  """Returns the path of a file whose accents are spelt in one of two ways, of which Macs use the other; or None."""
  spelt = (unicodedata.normalize(form, os.path.normpath(file)) for form in ('NFC', 'NFD'))
  return next(filter(os.path.isfile, (os.path.normpath(file), *spelt)), None)


def _files(path, columns, table, numbers):
  """Returns the file of each row.

  Raises:
    ValueError: A row lacks a value, or its file does not exist or was listed before.
  """
  files, seen = [], {}
  for number, row in zip(numbers, table, strict=True):
    where = f'{path} line {number}'
    for column in columns:
      if not row[column]:
        raise ValueError(f'{where} has no {column}.')
    file = os.path.normpath(os.path.join(path.parent, row['path']))
    if not os.path.isfile(file):
      file = _respelt(os.path.join(path.parent, row['path'].replace('\\', '/')))
      if file is None:
        raise ValueError(f'{where} names {row["path"]}, which does not exist.')
    if file in seen:
      raise ValueError(f'{where} lists {row["path"]} again, after line {seen[file]}.')
    if 'split' in columns and listing.split_of(row['split']) is None:
      raise ValueError(f'{where} has split={row["split"]!r}; known are {", ".join(listing.SPLITS)}.')
    seen[file] = number
    files.append(file)
  return files
