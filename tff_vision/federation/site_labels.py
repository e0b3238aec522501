"""A site's own labels as those of the plan."""

import csv
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tff_vision.data.sources import naming
from tff_vision.federation import plan as plan_lib


def of_plan(plan: plan_lib.Plan, labels: Sequence[str], paths: Sequence[str], separator: str | None,
            label_map: str | None, say: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
  """Returns labels as the plan numbers them, as in `images.Examples`, and [n] bool, which images are used.

  Args:
    labels: The site's own.
    paths: The files, for error messages.
    separator: The text between findings; None: not known.
    label_map: A table of the site's labels and the plan's; None: they are the same.
    say: Gets each sentence that a person at the site should read.

  Raises:
    ValueError: A label is no class of the plan, or no image has one.
  """
  names, mapped = list(plan.schema.class_names), _label_map(label_map, plan)
  labels, notes = naming.cleaned(labels, 'labels')
  for note in notes:
    say(note)
  if plan.schema.multi_label:
    separator = separator or naming.SEPARATOR
    parts = [[part.strip() for part in label.split(separator)] for label in labels]
  else:
    parts = [[label] for label in labels]
  used, y, unknown = np.ones(len(labels), bool), [], {}
  for place, own in enumerate(parts):
    numbers = []
    for label in own:
      name = mapped.get(label, label) if mapped else label
      if name == '' and (mapped or plan.schema.multi_label):
        used[place] &= plan.schema.multi_label
      elif name in names:
        numbers.append(names.index(name))
      elif not (plan.schema.multi_label and naming.is_no_finding(label)):
        unknown.setdefault(label, paths[place])
    y.append(numbers)
  if idle := sorted(mapped.keys() - {label for own in parts for label in own}):
    say(f'label_map={label_map} maps {", ".join(map(repr, idle[:12]))}, which no image has for a label.')
  if unknown:
    label, path = next(iter(unknown.items()))
    others = f' ({len(unknown)} such labels)' if len(unknown) > 1 else ''
    raise ValueError(f'{path} has the label {label!r}, which is no class of the plan{others}; the plan has '
                     f'{", ".join(names[:12])}. label_map=FILE, with lines «site\'s label,plan\'s label», translates.')
  if left := int((~used).sum()):
    say(f'{left} images whose label is mapped to nothing are left out.')
  if not used.any():
    raise ValueError(f'label_map={label_map} leaves no image with a class of the plan.')
  if plan.schema.multi_label:
    made = np.zeros((len(y), len(names)), np.float32)
    for row, numbers in zip(made, y, strict=True):
      row[numbers] = 1
    return made, used
  return np.array([numbers[0] if numbers else 0 for numbers in y], np.int32), used


def _label_map(path, plan) -> Mapping[str, str]:
  """Returns the site's label, in the spelling of `naming`, -> the plan's label; '' leaves images out."""
  if path is None:
    return {}
  try:
    with open(os.path.expanduser(path), encoding='utf-8-sig', newline='') as file:
      rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(file), 1) if any(row)]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f'label_map={path} cannot be read: {getattr(error, "strerror", None) or error}.') from None
  found = {}
  for number, row in rows:
    if len(row) != 2:
      raise ValueError(f'label_map={path} line {number} must have two fields, the site\'s label and the plan\'s; '
                       f'found {len(row)}.')
    if row[1] and row[1] not in plan.schema.class_names:
      raise ValueError(f'label_map={path} line {number} maps to {row[1]!r}, which is no class of the plan: '
                       f'{", ".join(plan.schema.class_names[:12])}.')
    own = naming.one_spelling(row[0])  # As the labels of images are read.
    if found.get(own, row[1]) != row[1]:
      raise ValueError(f'label_map={path} line {number} maps {own!r} again, to something else.')
    found[own] = row[1]
  return found
