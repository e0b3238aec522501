"""What a journal remembers, also of a process that was killed while it wrote."""

import os
import threading

import pytest

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
  assert second.after(2, 3) == plan.Past(replayed=(2, 2), delivered={1: 5, 2: 3}, repeated=(2,))
  second.end(2, 3)
  assert journal.Journal(path).past() == plan.Past(replayed=(2, 2), delivered={1: 5, 2: 3}, repeated=(2,))


def test_a_round_that_was_seen_is_repeated_when_it_is_begun_again(tmp_path):
  book = journal.Journal(tmp_path / 'journal.jsonl')
  assert not book.resume(0) and not (tmp_path / 'journal.jsonl').exists()
  for number in (1, 2, 3):
    book.begin(number)
    if number < 3:  # Killed after the checkpoint of round 3 was saved, before its end was written.
      book.end(number, 4)
  again = journal.Journal(tmp_path / 'journal.jsonl')
  assert not again.resume(3) and again.once_more(4) is None
  later = journal.Journal(tmp_path / 'journal.jsonl')
  assert later.resume(1)  # Two checkpoints were lost.
  assert later.once_more(2).repeated == (2,) and later.once_more(2).replayed == (2, 3)
  assert later.past().released(1) == {1: 1, 2: 1}
  for number in (2, 3):
    later.begin(number)
    later.end(number, 4)
  past = journal.Journal(tmp_path / 'journal.jsonl').past()
  assert past.repeated == (2, 3) and past.released(3) == {1: 1, 2: 2, 3: 2}
  assert sorted(past.sent(3)) == [1, 2, 2, 3, 3]


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
