"""Files of a federation that are missing or damaged are refused by name, in one sentence."""

import json
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


@pytest.mark.parametrize('reader, made_by, whole', [
    ('plan', 'pipelines.plan', lambda one: one), ('manifest', 'pipelines.prepare', lambda one: one),
    ('approval', 'pipelines.approve', lambda one: {'approval': one, 'signature': ''})])
@pytest.mark.parametrize('version', [1, 0, 99, 'x'])
def test_of_a_file_of_another_version_its_version_is_said_and_not_its_names(reader, made_by, whole, version, tmp_path,
                                                                           monkeypatch):
  for module in (plan, site_manifest, approval):
    monkeypatch.setattr(module, 'VERSION', 2)
  path = tmp_path / site_manifest.NAME
  path.write_text(json.dumps(whole({'version': version, 'a name that is gone': 1})))
  with pytest.raises(ValueError, match=f'has version {version!r}; this version reads 2: make it again with python -m '
                     f'{made_by}[.]$'):
    READERS[reader](path)
  path.write_text(json.dumps(whole({'version': 2, 'another name': 1})))
  with pytest.raises(ValueError, match='lacks or has unknown names: .*another name'):
    READERS[reader](path)


def test_an_approval_whose_signature_is_damaged_is_named(tmp_path, monkeypatch):
  path = tmp_path / 'approved.json'
  path.write_text('{"approval": {}, "signature": "not base64!"}')
  monkeypatch.setattr(approval, '_of_json', lambda content, what: None)
  with pytest.raises(ValueError, match='approved.json: signature is not written in base64'):
    approval.read(path, pathlib.Path('north.crt'))
