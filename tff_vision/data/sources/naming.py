"""Normalises the names of classes, findings and clients that people write."""

import collections
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

SEPARATOR = '|'  # Separates findings in one label, as in the NIH chest X-ray sets.
_NO_FINDING = {'', '-', 'none', 'nofinding', 'nofindings'}
_OTHER_SEPARATORS = ';,+'
_NUMBER = re.compile(r'[+-]?\d{1,15}(\.\d*)?')
_SPACES = re.compile(r'[^\S\x1c-\x1f]+')  # Python counts the separators of records as spaces too.
# Characters without width, which spreadsheets and web pages leave around names.
_INVISIBLE = '\u200b\u2060\ufeff\u00ad\u200e\u200f'


def cleaned(names: Sequence[str], what: str) -> tuple[list[str], list[str]]:
  """Returns names without needless spaces and with composed accents, and notes that say what was changed.

  Args:
    names: One name for each example.
    what: The word for them in the notes, in the plural.
  """
  better = {name: one_spelling(name) for name in set(names)}
  known = set(better.values())
  changed = sorted(name for name, now in better.items() if now != name)
  if not changed:
    return list(names), []
  count = sum(better[name] != name for name in names)
  return [better[name] for name in names], [
      f'{count} {what} had spaces around them, doubled spaces or accents written in another way, {changed[0]!r} among '
      f'them; they count as one with the names without: there are {len(known)}.']


def one_spelling(name: str) -> str:
  """Returns a name with composed accents, single spaces inside, and neither spaces nor invisible characters around."""
  name = unicodedata.normalize('NFC', name).translate(dict.fromkeys(map(ord, _INVISIBLE)))
  return _SPACES.sub(' ', name).strip()


def twice(names: Iterable[str]) -> str | None:
  """Returns the first name that is there more than once; None: there is none."""
  return next((name for name, number in collections.Counter(names).items() if number > 1), None)


def refuse_empty(names: Sequence[str], what: str) -> None:
  """Refuses names of which nothing is left without spaces.

  Args:
    names: As `cleaned` returns them.
    what: Whose they are and what they name, the beginning of a sentence.

  Raises:
    ValueError: A name is empty.
  """
  if number := sum(name == '' for name in names):
    raise ValueError(f'{what} of {number} of {len(names)} images is empty: name it.')


def same_numbers(labels: Sequence[str]) -> list[str]:
  """Returns a note if labels are one number that is written in several ways, as 1 and 01; they remain different."""
  found = _one_number(labels)
  return [f'Labels that are one number in several spellings are different classes: {"; ".join(found[:3])}. If they are '
          'one class, write them alike.'] if found else []


def _one_number(names):
  groups = collections.defaultdict(set)
  for name in set(names):
    if _NUMBER.fullmatch(name):
      groups[float(name)].add(name)
  return sorted(' and '.join(sorted(group)) for group in groups.values() if len(group) > 1)


def alike(names: Sequence[str], what: str) -> list[str]:
  """Returns notes on `names` that differ in case only, or are one number, as 7 and 7.0; they remain different names."""
  groups = collections.defaultdict(set)
  for name in set(names):
    groups[name.casefold()].add(name)
  found = sorted(' and '.join(sorted(group)) for group in groups.values() if len(group) > 1)
  numbers = _one_number(names)
  return [f'{what} that {why} stay apart: {"; ".join(which[:3])}.' for why, which in (
      ('differ in case only', found), ('are one number in several spellings', numbers)) if which]


def one_case(names: Sequence[str], label_case: str) -> tuple[list[str], list[str]]:
  """Returns labels in which one spelling replaces all that differ only in upper and lower case, and notes.

  Args:
    names: Labels; a label may occur many times.
    label_case: `ask` refuses such labels, `merge` uses the most common spelling, `keep` keeps them as different labels.

  Raises:
    ValueError: There are such labels and `label_case` is `ask`.
  """
  counts = collections.Counter(names)
  groups = collections.defaultdict(list)
  for name in sorted(counts):
    groups[name.casefold()].append(name)
  groups = [group for group in groups.values() if len(group) > 1]
  if not groups or label_case == 'keep':
    return list(names), []
  if label_case == 'ask':
    raise ValueError(f'the classes {" and ".join(map(repr, groups[0]))} differ in case only: label_case=merge makes '
                     'one class of such names, label_case=keep leaves them apart.')
  spelling = {name: max(group, key=lambda each: (counts[each], each)) for group in groups for name in group}
  said = '; '.join(f'{" and ".join(group)} as {spelling[group[0]]}' for group in groups)
  return [spelling.get(name, name) for name in names], [f'Classes that differ in case only count as one: {said}.']


def separator_of(labels: Sequence[str], wanted: str | None) -> str:
  """Returns the text that separates findings in labels, or '' if a label is one class.

  Args:
    labels: Labels as they are written.
    wanted: The user's choice; None: `SEPARATOR`, if a label contains it.
  """
  if wanted is not None:
    return wanted
  return SEPARATOR if any(SEPARATOR in label.strip(SEPARATOR) for label in set(labels)) else ''


def perhaps_findings(labels: Sequence[str]) -> list[str]:
  """Returns a note if labels look like several findings with another separator than `SEPARATOR` between them."""
  known = set(labels)
  for separator in _OTHER_SEPARATORS:
    for label in sorted(known):
      parts = [part.strip() for part in label.split(separator)]
      if len(set(parts)) > 1 and all(part in known or is_no_finding(part) for part in parts):
        return [f'The label {label!r} is a class of its own, and {" and ".join(sorted(set(parts)))} are labels too: '
                f'finding_separator={separator} takes such labels as several findings.']
  return []


def findings(labels: Sequence[str], separator: str, label_case: str, names: Sequence[str] | None = None
             ) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
  """Splits labels that contain several findings.

  Args:
    labels: [n] labels.
    separator: The text between findings.
    label_case: As in `one_case`.
    names: All findings, in order; None: those in the labels, in the order of their names.

  Returns:
    [n, findings] float32 of 0 and 1; the findings' names; and notes.

  Raises:
    ValueError: As `one_case`; or no label names a finding.
  """
  parts = [[part.strip() for part in label.split(separator)] for label in labels]
  flat, notes = one_case([part for row in parts for part in row], label_case)
  flat = iter(flat)
  parts = [[name for name in (next(flat) for _ in row) if _key(name) not in _NO_FINDING] for row in parts]
  names = tuple(names or sorted({name for row in parts for name in row}))
  if not names:
    raise ValueError('no label names a finding.')
  refuse_unknown((name for row in parts for name in row), names)
  place = {name: column for column, name in enumerate(names)}
  y = np.zeros((len(parts), len(names)), np.float32)
  for row, own in zip(y, parts, strict=True):
    row[[place[name] for name in own]] = 1
  return y, names, notes


def refuse_unknown(labels: Iterable[str], names: Sequence[str]) -> None:
  """Refuses labels that are none of the classes.

  Raises:
    ValueError: There is one.
  """
  if unknown := sorted(set(labels) - set(names)):
    raise ValueError(f'the label {unknown[0]!r} is none of the {len(names)} classes that are named: '
                     f'{", ".join(names[:8])}{", …" if len(names) > 8 else ""}.')


def is_no_finding(name: str) -> bool:
  """Returns whether a label says that an image shows none of the findings."""
  return _key(name) in _NO_FINDING


def _key(name):
  return ''.join(letter for letter in name.casefold() if letter not in ' _')
