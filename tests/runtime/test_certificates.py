"""Certificates: what is no name makes no file."""

import pytest

from tff_vision.runtime.worker import certificate_authority, nginx


@pytest.mark.parametrize('host', ['../elsewhere', 'a/b', '', '/etc/tls', '..', 'a b', 'hôpital', 'a.', '-a'])
def test_a_host_that_is_no_name_writes_nothing(tmp_path, host):
  folder = tmp_path / 'pki'
  certificate_authority.make_authority(folder)
  with pytest.raises(ValueError, match='hosts must be names or addresses'):
    certificate_authority.make_worker(folder, host)
  assert sorted(path.name for path in tmp_path.rglob('*') if path.is_file()) == ['ca.crt', 'ca.key']


@pytest.mark.parametrize(('hosts', 'said'), [
    (['new', 'a b'], "must be names or addresses, found 'a b'"), (['new', 'new'], "names 'new' twice"),
    (['new', 'there'], 'there.crt exists')])
def test_hosts_are_checked_before_one_of_them_gets_a_certificate(tmp_path, hosts, said):
  certificate_authority.make_authority(tmp_path)
  certificate_authority.make_worker(tmp_path, 'there')
  with pytest.raises(ValueError, match=said):
    certificate_authority.check_new(tmp_path, hosts)
  certificate_authority.check_new(tmp_path, ['new', '192.0.2.1', '::1', 'site-1.example.org'])


@pytest.mark.parametrize(('name', 'content', 'said'), [
    ('ca.crt', b'no PEM', 'must hold a certificate and its key'),
    ('ca.key', b'', 'must hold a certificate and its key'),
    ('ca.key', None, 'ca.key is not the key of ca.crt')])
def test_an_authority_whose_files_do_not_fit_signs_nothing(tmp_path, name, content, said):
  folder, other = tmp_path / 'pki', tmp_path / 'other'
  for one in (folder, other):
    certificate_authority.make_authority(one)
  (folder / name).write_bytes((other / name).read_bytes() if content is None else content)
  with pytest.raises(ValueError, match=f'{folder}: .*{said}'):
    certificate_authority.make_worker(folder, 'host')
  assert not (folder / 'host.key').exists()


def test_a_worker_can_be_started_with_the_files_of_any_host(tmp_path):
  certificate_authority.make_authority(tmp_path)
  for host in ('::1', '192.0.2.1', 'site-1.example.org'):
    certificate_authority.make_worker(tmp_path, host)
    nginx.DoorTls(cert=str(tmp_path / f'{host}.crt'), key=str(tmp_path / f'{host}.key'),
                  client_ca=str(tmp_path / 'ca.crt'), client_name='coordinator')
