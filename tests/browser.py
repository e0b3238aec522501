"""A headless Chromium, driven over its pipe (DevTools protocol): pages at a width, light or dark, scripts, pictures."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

PROGRAM = shutil.which('chromium') or shutil.which('chromium-browser')
_FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
          '--disable-extensions', '--disable-background-networking', '--hide-scrollbars', '--remote-debugging-pipe')
_LOAD = """new Promise(done => document.readyState === 'complete' ? done(true)
                                                                   : addEventListener('load', () => done(true)))"""


class Browser:
  """One browser with one page; a context manager."""

  def __enter__(self):
    self._home = tempfile.TemporaryDirectory()
    to_read, self._write = os.pipe()
    self._read, to_write = os.pipe()

    def place():  # The protocol has fixed numbers: the browser reads 3 and writes 4.
      first, second = os.dup(to_read), os.dup(to_write)
      os.dup2(first, 3)
      os.dup2(second, 4)

    self._process = subprocess.Popen(
        [PROGRAM, *_FLAGS, f'--user-data-dir={self._home.name}', 'about:blank'], preexec_fn=place, close_fds=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(to_read)
    os.close(to_write)
    self._number, self._held, self._session = 0, b'', None
    target = self._ask('Target.createTarget', url='about:blank')['targetId']
    self._session = self._ask('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
    self._ask('Page.enable')
    return self

  def __exit__(self, *error):
    os.close(self._write)
    self._process.terminate()
    try:
      self._process.wait(20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    os.close(self._read)
    shutil.rmtree(self._home.name, ignore_errors=True)

  def open(self, address, *, width, dark=False, height=900):
    """Loads a file or an address, in a window of this width."""
    if isinstance(address, pathlib.Path):
      address = address.resolve().as_uri()
    self._ask('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)
    self._ask('Emulation.setEmulatedMedia', features=[
        {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
    self._ask('Page.navigate', url=address)
    self.run(_LOAD)

  def run(self, script):
    """Returns the value of a script, as JSON has it; waits for a promise."""
    found = self._ask('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
    if 'exceptionDetails' in found:
      raise RuntimeError(found['exceptionDetails'].get('exception', found['exceptionDetails']))
    return found['result'].get('value')

  def always(self, script):
    """Runs a script at the beginning of each page that is loaded from now on."""
    self._ask('Page.addScriptToEvaluateOnNewDocument', source=script)

  def picture(self, path):
    """Writes a PNG of the whole page."""
    size = self._ask('Page.getLayoutMetrics')['cssContentSize']
    shot = self._ask('Page.captureScreenshot', captureBeyondViewport=True, clip={
        'x': 0, 'y': 0, 'width': size['width'], 'height': size['height'], 'scale': 1})
    pathlib.Path(path).write_bytes(base64.b64decode(shot['data']))

  def _ask(self, method, **given):
    self._number += 1
    number = self._number
    message = {'id': number, 'method': method, 'params': given}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._write, json.dumps(message).encode() + b'\0')
    while True:
      answer = self._take()
      if answer.get('id') == number:
        if 'error' in answer:
          raise RuntimeError(f'{method}: {answer["error"]}')
        return answer['result']

  def _take(self):
    while b'\0' not in self._held:
      part = os.read(self._read, 1 << 16)
      if not part:
        raise RuntimeError('the browser has ended')
      self._held += part
    one, _, self._held = self._held.partition(b'\0')
    return json.loads(one)
