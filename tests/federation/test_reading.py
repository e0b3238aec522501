"""Files of a federation that are missing or damaged are refused by name, in one sentence."""

import pathlib

import pytest

from tests.federation import test_plan
from tff_vision.federation import approval, plan, site_manifest


def _sites_file(path):
  test_plan.made(sites=(), sites_file=str(path))


READERS = {'plan': plan.read, 'manifest': lambda path: site_manifest.read(path.parent), 'sites file': _sites_file,
           'approval': lambda path: approval.read(path, pathlib.Path('north.crt'))}


@pytest.mark.parametrize('content, said', [
    (None, 'no such file'), (b'\xff\xfe{}', 'is no JSON'), (b'{"version": ', 'is no JSON'), (b'7', '7|found int')])
@pytest.mark.parametrize('reader', READERS)
def test_a_damaged_file_is_named(reader, content, said, tmp_path):
  path = tmp_path / site_manifest.NAME
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(ValueError, match=said) as raised:
    READERS[reader](path)
  assert str(path) in str(raised.value) and '\n' not in str(raised.value)


def test_an_approval_whose_signature_is_damaged_is_named(tmp_path, monkeypatch):
  path = tmp_path / 'approved.json'
  path.write_text('{"approval": {}, "signature": "not base64!"}')
  monkeypatch.setattr(approval, '_of_json', lambda content, what: None)
  with pytest.raises(ValueError, match='approved.json: signature is not written in base64'):
    approval.read(path, pathlib.Path('north.crt'))
