"""The live page in a real browser: it loads itself again while a run trains, and shows what is new."""

import subprocess
import sys
import time

import pytest

from tests import browser

pytestmark = [pytest.mark.ci, pytest.mark.skipif(browser.PROGRAM is None, reason='there is no chromium')]
# What a person sees: how often this page was loaded, and its text. sessionStorage lives as long as the tab.
_SEEN = '({loads: Number(sessionStorage.loads || 0), text: document.body.innerText})'
_COUNT = 'sessionStorage.loads = Number(sessionStorage.loads || 0) + 1'


def test_the_page_follows_a_run_by_itself(tmp_path):
  run_dir = tmp_path / 'run'
  run_dir.mkdir()
  watch = subprocess.Popen([sys.executable, '-m', 'pipelines.watch', f'--run_dir={run_dir}', '--port=0'],
                           stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
  try:
    address = next(line.split()[1] for line in watch.stdout if line.startswith('page:'))
    train = subprocess.Popen(
        [sys.executable, '-m', 'pipelines.train', '--dataset=digits', '--model=linear', '--rounds=4000',
         '--rounds_per_evaluation=10', f'--run_dir={run_dir}'],
        stdin=subprocess.DEVNULL, stdout=(tmp_path / 'out').open('w'), stderr=subprocess.STDOUT)
    try:
      _follow(address, train, tmp_path)
    finally:
      train.terminate()
      train.wait(60)
  finally:
    watch.terminate()
    watch.wait(20)


def _follow(address, train, tmp_path):
  with browser.Browser() as opened:
    opened.open(address, width=1000)
    opened.always(_COUNT)
    seen, texts = 0, []
    end = time.monotonic() + 150
    while time.monotonic() < end and len(texts) < 3:  # Nobody reloads the page here.
      assert train.poll() is None, (tmp_path / 'out').read_text()[-2000:]
      try:
        found = opened.run(_SEEN)
      except RuntimeError:  # The page went away under the script, because it loads itself again.
        continue
      if found['loads'] > seen and found['text'] not in texts and 'accuracy' in found['text'].lower():
        texts.append(found['text'])
      seen = max(seen, found['loads'])
      time.sleep(0.5)
  assert len(texts) == 3 and seen >= 3
