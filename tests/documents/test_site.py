"""Links of the documents end somewhere, paths that they name exist, and generated pages are those of the code."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from tests.documents import commands, report_paths
from tff_vision.diagnosis import lock
from tff_vision.report import keys as report_keys

ROOT = commands.ROOT
PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md'), *(ROOT / 'notebooks').glob('*.ipynb')])
_LINK = re.compile(r'\]\(([^)\s]+)\)')
_BLOCK = re.compile(r'^```.*?^```', re.DOTALL | re.MULTILINE)
_PATH = re.compile(r'(?<![\w/.-])((?:[\w-]+/)+[\w.-]+\.(?:py|sh|md|flags|csv|ipynb|yaml|service|conf))(?![\w/])')
# Folders that a path in a document may start from; the library's own are named without `tff_vision/` now and then.
_TOPS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {'build', 'runs'}
_INNER = {path.name for path in (ROOT / 'tff_vision').iterdir() if path.is_dir()}


def _text(path):
  if path.suffix == '.ipynb':
    return '\n'.join(''.join(cell['source']) for cell in json.loads(path.read_text())['cells'])
  return path.read_text()


def _anchors(path):
  """The anchors of a page's headings, as GitHub and the site give them."""
  headings = re.findall(r'^#+ +(.*)$', _BLOCK.sub('', _text(path)), re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', re.sub(r'[`*]|\]\([^)]*\)', '', heading).lower()).strip().replace(' ', '-')
          for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_ends_somewhere(page):
  for link in _LINK.findall(_BLOCK.sub('', _text(page))):
    if '://' in link or link.startswith('mailto:'):
      continue
    target, _, anchor = link.partition('#')
    path = (page.parent / target).resolve() if target else page
    assert path.exists(), f'{page.name} links to {link}'
    assert not anchor or anchor in _anchors(path), f'{page.name} links to {link}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page):
  for path in _PATH.findall(_text(page)):
    top = path.split('/')[0]
    if (top in _TOPS or top in _INNER) and 'NAME' not in path:
      assert (ROOT / path).exists() or (ROOT / 'tff_vision' / path).exists(), f'{page.name} names {path}'


def test_every_document_that_the_code_names_exists():
  named = {}
  for folder in ('tff_vision', 'flags', 'pipelines', 'benchmarks', 'examples', 'tests', 'deploy'):
    for path in (ROOT / folder).rglob('*'):
      if path.suffix in ('.py', '.flags', '.sh', '.yaml'):
        for name in re.findall(r'(?<![\w/])docs/[\w./-]+\.md', path.read_text()):
          named.setdefault(name, path.name)
  for name in ('Makefile', 'Dockerfile'):
    named |= dict.fromkeys(re.findall(r'(?<![\w/])docs/[\w./-]+\.md', (ROOT / name).read_text()), name)
  assert len(named) > 8
  assert not {name: where for name, where in named.items() if not (ROOT / name).is_file()}


def test_every_page_stands_in_the_navigation():
  named = set(re.findall(r'[\w/-]+\.md', (ROOT / 'mkdocs.yml').read_text()))
  assert named == {str(path.relative_to(ROOT / 'docs')) for path in (ROOT / 'docs').rglob('*.md')}


def test_generated_pages_are_what_the_code_says():
  done = subprocess.run([sys.executable, str(ROOT / 'docs' / 'generate.py'), '--check'], capture_output=True, text=True,
                        cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60)
  assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_keys_is_what_reports_hold():
  """Of the recorded runs, one for each algorithm, mechanism and secure sum; tests of pipelines look at other tasks."""
  cases = json.loads((pathlib.Path(__file__).parents[1] / 'golden' / 'expected.json').read_text()).values()
  recorded = {key.removeprefix('/') for case in cases for key in case['keys']}
  assert len(recorded) > 100
  assert not {key for key in recorded if not report_paths.is_documented(key)}
  # The other way round: what stands in the table and in no recorded run is of another task, of a flag, or varies.
  elsewhere = re.compile(
      r'detection_by_.*|(history\[\]/)?evaluation/(auc|average|true_|equal|pairs|same_pairs|dice|iou|pixel|map|ap_|mae|rmse|r2|quadratic).*|roc/.*|unseen/.*|where_it_is_wrong.*|augmentation|budget_file/.*|one_run_audit/.*|'
      r'(history\[\]/)?privacy/((metrics|evaluation)_noise_multiplier|noise|average|count_stddev|sum_noise_multiplier|views/.*)|attack/(target|backdoor_success_rate)|config/.*|environment/.*|'
      r'history\[\]/(seconds|noised/.*|dropped_clients|faults.*|unmoved|train/skipped_steps)|history\[\]|seconds/.*|'
      r'.*/histogram(/.*)?|'
      r'(history\[\]/)?contribution/.*|personal/joined|'
      r'examples_per_second|peak_rss_mb|export_parity|origin/.*|'
      r'federated(/.*)?|evaluation_privacy(/.*)?|selection/.*|history\[\]/(validation(/.*)?|evaluation_faults)')
  unseen = {key for key in report_keys.KEYS if not elsewhere.fullmatch(key)
            and not any(path == key or path.startswith(key.removesuffix('*')) for path in recorded)}
  assert not unseen


def test_the_site_is_locked_beside_the_library():
  """One environment can hold both, and a pin is one version without the name of a host."""
  text = (ROOT / 'requirements-docs.txt').read_text()
  pins = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith('#')]
  assert all(re.fullmatch(r'[a-z0-9][a-z0-9.-]*==[\w.+!-]+', pin) for pin in pins) and '://' not in text
  ours, theirs = lock.exact_pins(text), lock.exact_pins((ROOT / 'requirements.txt').read_text())
  assert {'mkdocs', 'mkdocs-material', 'mkdocstrings-python'} <= set(ours)
  assert {name: version for name, version in ours.items() if theirs.get(name, version) != version} == {}
