"""The Python that a document shows runs as it stands.

What is for other machines, a client of TensorFlow Serving or a device with TFLite, imports no tff_vision: it is left
out.
"""

import re

import pytest

from tests import forked
from tests.documents import commands

_PYTHON = re.compile(r'^```python\n(.*?)^```', re.DOTALL | re.MULTILINE)
_DOCUMENTS = [path for path in commands.TYPED
              if any('import tff_vision' in block for block in _PYTHON.findall(path.read_text()))]


@pytest.mark.ci
@pytest.mark.parametrize('path', _DOCUMENTS, ids=lambda path: path.name)
def test_the_python_of_a_document_runs(path, tmp_path):
  script = tmp_path / 'shown.py'
  script.write_text('\n'.join(_PYTHON.findall(path.read_text())))
  done = forked.run([script], cwd=tmp_path, timeout=300, env={
      'PYTHONPATH': str(commands.ROOT), 'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path), 'TF_CPP_MIN_LOG_LEVEL': '3'})
  assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
