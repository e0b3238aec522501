"""A forked program is what `python ARGUMENTS` would be: its exit code, words, arguments, place, environment and end."""

import json
import signal
import subprocess
import sys

import pytest

from tests import forked

_SAYS = """import atexit, json, os, sys
atexit.register(print, 'end')
ours = {name.partition('.')[0] for name in sys.modules} & {'tff_vision', 'pipelines', 'flags', 'benchmarks'}
print(json.dumps([sys.argv[1:], os.getcwd(), __name__, sys.path[0], os.environ.get('MARK'), 'HOME' in os.environ,
                  sys.stdin.read(), sorted(ours), vars(sys.modules['__main__']) is globals()]))
"""


def test_it_begins_as_a_program_of_its_own_would(tmp_path):
  (tmp_path / 'mine.py').write_text(_SAYS)
  for arguments in ['-c', _SAYS], ['-m', 'mine'], [str(tmp_path / 'mine.py')]:
    asked = dict(cwd=tmp_path, timeout=100, env={'MARK': 'x', 'PYTHONPATH': str(tmp_path)})
    here = forked.run([*arguments, 1, '--two'], **asked)
    there = subprocess.run([sys.executable, *arguments, '1', '--two'], **asked, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, check=False)
    assert here.returncode == there.returncode == 0, here.stderr
    assert json.loads(here.stdout.splitlines()[0]) == json.loads(there.stdout.splitlines()[0])
    assert here.stdout.splitlines()[1:] == there.stdout.splitlines()[1:] == ['end']


@pytest.mark.parametrize(('text', 'code', 'said'), [
    ('', 0, ''), ('raise SystemExit(7)', 7, ''), ('raise SystemExit("why not")', 1, 'why not'),
    ('1 / 0', 1, 'ZeroDivisionError'),
    ('import os, signal; os.kill(os.getpid(), signal.SIGKILL)', -signal.SIGKILL, '')])
def test_it_ends_as_a_program_of_its_own_would(text, code, said):
  done = forked.run(['-c', text], timeout=100)
  assert done.returncode == code and said in done.stderr and bool(said) == bool(done.stderr)


def test_it_is_ended_when_its_time_is_over():
  with pytest.raises(subprocess.TimeoutExpired):
    forked.run(['-c', 'import time; time.sleep(100)'], timeout=0.5)
