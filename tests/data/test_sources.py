"""Every source answers at once what is missing and how to mend it, and tries nothing that may hang."""

import socket
import subprocess
import sys
import urllib.request

import pytest

from tff_vision import configs
from tff_vision.data.sources import installed, registry

REMOTE = ['cifar10', 'cifar100', 'emnist', 'emnist_balanced', 'emnist_digits', 'fashion_mnist', 'kmnist', 'mnist',
          *(name for name in registry.SOURCES if name.startswith('medmnist:'))]
OWN = ['folder', 'idx', 'medical_mnist', 'npz']


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  def no_network(*_):
    raise socket.gaierror(-2, 'Name or service not known')
  monkeypatch.setattr(socket, 'getaddrinfo', no_network)
  monkeypatch.setattr(urllib.request, 'urlopen', lambda *_, **__: pytest.fail('tried to download'))
  for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize('partition', ['natural', 'iid'])
@pytest.mark.parametrize('name', REMOTE)
def test_offline_answer(name, partition, tmp_path):
  with pytest.raises(ValueError) as raised:
    registry.find(name).load(configs.DataConfig(dataset=name, data_dir=str(tmp_path), partition=partition))
  said = str(raised.value)
  assert 'cannot be reached' in said and '://' in said and str(tmp_path) in said
  assert ('sha256:' in said or 'md5:' in said) and '--dataset=' in said
  instead = said.partition('--dataset=')[2].split()[0].rstrip(',.')
  assert instead in registry.SOURCES and registry.find(instead).locate(str(tmp_path))[1]
  assert not any(tmp_path.iterdir()), 'nothing half-written'


@pytest.mark.parametrize('name', OWN)
def test_own_data_need_data_dir(name):
  with pytest.raises(ValueError, match='needs data_dir'):
    registry.find(name).load(configs.DataConfig(dataset=name))


def test_a_folder_of_own_data_is_not_passed_over():
  with pytest.raises(ValueError, match='data_dir=films has no effect with dataset=digits'):
    registry.find('digits').load(configs.DataConfig(dataset='digits', data_dir='films'))


def test_every_source_says_whether_it_is_here(tmp_path):
  found = {name: (present, where) for name, present, where in installed.report(str(tmp_path))}
  assert set(found) == set(registry.SOURCES)
  assert all(where for _, where in found.values())
  assert found['digits'][0] and not any(found[name][0] for name in REMOTE)


def test_saying_so_needs_no_tensorflow():
  program = ('import sys\nfrom tff_vision.data.sources import installed\ninstalled.report()\n'
             'print("tensorflow" in sys.modules)')
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == 'False'
