"""Platforms, interpreters, cores and memory that are not this machine's."""

import pytest

from tff_vision.diagnosis import machine
from tff_vision.diagnosis.finding import Status


@pytest.mark.parametrize('system, architecture, libc, status', [
    ('Linux', 'x86_64', ('glibc', '2.31'), Status.OK),
    ('Linux', 'x86_64', ('glibc', '2.4'), Status.FAIL),  # As text '2.4' is above '2.31'.
    ('Linux', 'x86_64', ('musl', '1.2'), Status.FAIL),
    ('Linux', 'x86_64', ('', ''), Status.FAIL),
    ('Linux', 'aarch64', ('glibc', '2.36'), Status.FAIL),
    ('Darwin', 'arm64', ('', ''), Status.FAIL),
    ('Windows', 'AMD64', ('', ''), Status.FAIL),
])
def test_platform_needs_the_one_wheel_there_is(system, architecture, libc, status):
  finding = machine.platform_finding(system, architecture, libc)
  assert finding.status is status
  assert system in finding.message and architecture in finding.message
  assert ('Dockerfile' in finding.mend) == (status is Status.FAIL)


@pytest.mark.parametrize('version, status', [((3, 11), Status.OK), ((3, 10), Status.FAIL), ((3, 12), Status.FAIL)])
def test_interpreter(version, status):
  finding = machine.interpreter_finding(version)
  assert finding.status is status
  assert f'Python 3.{version[1]}' in finding.message


@pytest.mark.parametrize('cores, status', [(1, Status.WARN), (2, Status.OK), (64, Status.OK)])
def test_cores(cores, status):
  assert machine.cores_finding(cores).status is status


@pytest.mark.parametrize('free, status, told', [(4 * 2**30, Status.OK, '4.0 GiB'),
                                                (4 * 2**30 - 1, Status.WARN, '4.0 GiB'),
                                                (512 * 2**20, Status.WARN, '0.5 GiB free')])
def test_memory(free, status, told):
  finding = machine.memory_finding(free)
  assert finding.status is status and told in finding.message


def test_free_memory_heeds_the_container_limit(tmp_path, monkeypatch):
  monkeypatch.setattr(machine, '_CGROUP', tmp_path)
  whole = machine.free_memory()
  (tmp_path / 'memory.max').write_text('max\n')
  (tmp_path / 'memory.current').write_text('1000\n')
  assert machine.free_memory() > whole / 2
  (tmp_path / 'memory.max').write_text('5000\n')
  assert machine.free_memory() == 4000


def test_this_machine_can_be_asked():
  assert machine.usable_cores() >= 1
  assert machine.free_memory() > 0
