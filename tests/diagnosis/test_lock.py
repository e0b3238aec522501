"""The lock against hostile environments."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.diagnosis import environment, lock
from tff_vision.diagnosis.finding import Status

_VERSIONS = st.dictionaries(st.sampled_from(['absl-py', 'jax', 'numpy', 'pytest', 'zipp']), st.sampled_from(['1', '2']))


def _checkout(folder: pathlib.Path) -> pathlib.Path:
  (folder / 'requirements.txt').write_text(
      '# made by\nnumpy==1.25.2\n    # via x\nzipp==4.1.2\njax==0.4.18\nabsl-py==1.4.0\n')
  (folder / 'requirements.in').write_text('# why==not\nabsl-py\nnumpy<2\n')
  (folder / 'requirements.overrides.txt').write_text('jax==0.4.18\n')
  return folder


def test_exact_pins_reads_lock_lines_only():
  assert lock.exact_pins('# a==1\nB_c.d==2.0  # why\n    # via x==3\ne<4\nf==5 ; python_version<"4"\n') == {
      'b-c-d': '2.0', 'f': '5'}


@pytest.mark.parametrize('present, status, told', [
    ({'numpy': '1.25.2', 'zipp': '4.1.2', 'jax': '0.4.18', 'absl-py': '1.4.0'}, Status.OK, 'all 4 packages'),
    ({'numpy': '1.25.2', 'zipp': '3', 'jax': '0.4.18', 'absl-py': '1.4.0'}, Status.WARN, 'zipp==4.1.2 (has 3)'),
    ({'numpy': '1.25.2', 'zipp': '4.1.2', 'jax': '0.5', 'absl-py': '1.4.0'}, Status.FAIL, 'jax==0.4.18 (has 0.5)'),
    ({'numpy': '1.25.2', 'jax': '0.4.18', 'absl-py': '1.4.0'}, Status.FAIL, 'not installed: zipp==4.1.2'),
    ({}, Status.FAIL, 'not installed: numpy==1.25.2, zipp==4.1.2, jax==0.4.18, absl-py==1.4.0'),
])
def test_judge_names_each_package_that_differs(tmp_path, present, status, told):
  finding = lock.judge(_checkout(tmp_path), present)
  assert finding.status is status
  assert told in finding.message
  assert finding.mend == ('' if status is Status.OK else 'pip install --no-deps -r requirements.txt')


@given(locked=_VERSIONS, present=_VERSIONS, demanded=st.sets(st.sampled_from(['jax', 'numpy'])))
def test_compare_parts_the_lock_into_right_missing_broken_and_drifted(locked, present, demanded):
  mismatch = lock.compare(locked, demanded, present)
  right = [name for name in locked if present.get(name) == locked[name]]
  assert len(right) + len(mismatch.missing) + len(mismatch.broken) + len(mismatch.drifted) == len(locked)
  assert all(told.split('==')[0] in demanded for told in mismatch.broken)
  assert all(told.split('==')[0] not in present for told in mismatch.missing)


def test_a_missing_lock_is_a_finding(tmp_path):
  finding = environment.lock_finding(tmp_path)
  assert finding.status is Status.FAIL and 'requirements.txt' in finding.message


def test_a_long_list_is_cut_and_counted(tmp_path):
  (tmp_path / 'requirements.txt').write_text('\n'.join(f'p{i}==1' for i in range(20)))
  assert lock.judge(tmp_path, {}).message.endswith('p5==1 and 14 more')
