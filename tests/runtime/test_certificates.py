"""Certificates: what is no name makes no file."""

import pytest

from tff_vision.runtime.worker import certificate_authority


@pytest.mark.parametrize('host', ['../elsewhere', 'a/b', '', '/etc/tls'])
def test_a_host_that_is_no_name_writes_nothing(tmp_path, host):
  folder = tmp_path / 'pki'
  certificate_authority.make_authority(folder)
  with pytest.raises(ValueError, match='hosts must be names or addresses'):
    certificate_authority.make_worker(folder, host)
  assert sorted(path.name for path in tmp_path.rglob('*') if path.is_file()) == ['ca.crt', 'ca.key']
