"""What a journal remembers, also of a process that was killed while it wrote."""

import os

from tff_vision.privacy import plan
from tff_vision.program import journal


def test_begun_rounds_are_charged_until_they_end_and_torn_lines_are_not_believed(tmp_path):
  path = tmp_path / 'journal.jsonl'
  before = os.umask(0)
  first = journal.Journal(path)
  first.begin(1)
  first.end(1, 5)
  first.begin(2)
  os.umask(before)
  assert path.stat().st_mode & 0o777 == 0o600, 'it holds exact sizes of cohorts'
  assert first.after(2, 4) == plan.Past(replayed=(), delivered={1: 5, 2: 4})
  with path.open('a') as file:
    file.write('{"begin"')
  second = journal.Journal(path)
  assert second.past() == plan.Past(replayed=(2,), delivered={1: 5})
  second.begin(2)
  assert second.after(2, 3) == plan.Past(replayed=(2,), delivered={1: 5, 2: 3})
  second.end(2, 3)
  assert journal.Journal(path).past() == second.past() == plan.Past(replayed=(2,), delivered={1: 5, 2: 3})
  second.begin(2)  # Its checkpoint was lost after it had ended.
  assert second.after(2, 3) == plan.Past(replayed=(2, 2), delivered={1: 5, 2: 3})
  second.end(2, 3)
  assert journal.Journal(path).past() == plan.Past(replayed=(2, 2), delivered={1: 5, 2: 3})
