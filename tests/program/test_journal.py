"""What a journal remembers, also of a process that was killed while it wrote."""

import threading

import pytest

from tff_vision.privacy import plan
from tff_vision.program import journal


def test_begun_rounds_are_charged_until_they_end_and_torn_lines_are_not_believed(tmp_path):
  path = tmp_path / 'journal.jsonl'
  first = journal.Journal(path)
  first.begin(1)
  first.end(1, 5)
  first.begin(2)
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


def test_repeated_calls_are_charged_whoever_writes_them(tmp_path):
  path = tmp_path / 'journal.jsonl'
  first = journal.Journal(path)
  first.begin(1)
  writers = [threading.Thread(target=first.repeat, args=(1, [client, 9])) for client in range(8)]
  for writer in writers:
    writer.start()
  for writer in writers:
    writer.join()
  assert first.after(1, 3).replayed == () and first.past().replayed == (1,)
  first.end(1, 3)
  read = journal.Journal(path).past()
  assert read == first.past() and read.replayed == ()
  assert sorted(read.again) == [(1, (client, 9)) for client in range(8)]


def test_a_run_goes_on_with_the_examples_that_it_began_with(tmp_path):
  path = tmp_path / 'journal.jsonl'
  first = journal.Journal(path)
  first.check_counts([5, 7])
  first.note_counts(())  # A promise that counts on no examples.
  assert not path.exists()
  first.note_counts([5, 7])
  again = journal.Journal(path)
  again.check_counts([5, 7])
  again.note_counts([5, 7])
  assert again.example_counts == (5, 7) and len(path.read_text().splitlines()) == 1
  with pytest.raises(ValueError, match='client 1 has 6 examples and had 7'):
    again.check_counts([5, 6])
  with pytest.raises(ValueError, match='there are 3 clients and were 2'):
    again.check_counts([5, 7, 1])
