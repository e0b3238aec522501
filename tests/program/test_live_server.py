"""The server of pages of runs: what it shows, and what it must not."""

import http.client
import json
import threading
import urllib.request

import pytest

from tff_vision.report import live_server


@pytest.fixture
def served(tmp_path):
  """Yields the folder of two runs, and ask(path, **headers) -> (status, text)."""
  for name, rounds in (('done', 3), ('under <way>', 9)):
    run = tmp_path / 'runs' / name
    (run / 'secret').mkdir(parents=True)
    (run / 'secret' / 'journal.jsonl').write_text('who took part')
    (run / 'config.json').write_text(json.dumps({'program': {'rounds': rounds}}))
    (run / 'metrics.csv').write_text('round\n1\n2\n')
  (tmp_path / 'runs' / 'done' / 'report.html').write_text('<html><body>\n<main>90 %</main></body></html>')
  (tmp_path / 'runs' / 'done' / 'report.json').write_text('{}')
  (tmp_path / 'runs' / 'sweep.html').write_text('all cells')
  (tmp_path / 'runs' / 'cell.log').write_text('a log')
  (tmp_path / 'outside.json').write_text('outside')
  with live_server.LiveServer(tmp_path / 'runs', port=0) as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def ask(path, method='GET', **headers):
      connection = http.client.HTTPConnection('127.0.0.1', server.server_address[1], timeout=10)
      connection.request(method, path, headers=headers)
      answer = connection.getresponse()
      return answer.status, answer.read().decode()

    yield tmp_path / 'runs', ask
    server.shutdown()
    thread.join()


def test_a_folder_of_runs_is_listed_and_each_run_has_its_page(served):
  folder, ask = served
  status, page = ask('/')
  assert status == 200 and 'done</a>: finished' in page and 'under &lt;way&gt;</a>: round 2 of 9' in page
  assert 'http-equiv="refresh"' in page and 'sweep.html' in page and f'--logdir={folder}' in page
  status, page = ask('/done/')
  assert status == 200 and '90 %' in page and 'report.json' in page and f'--logdir={folder / "done" / "logdir"}' in page
  status, page = ask('/under%20%3Cway%3E/')
  assert status == 200 and 'round 2 of 9' in page and 'http-equiv="refresh"' in page and '<way>' not in page
  assert ask('/sweep.html') == (200, 'all cells') and ask('/done/report.json') == (200, '{}')
  assert ask('/done/metrics.csv', 'HEAD') == (200, '')


def test_one_run_is_served_alone(served):
  folder, _ = served
  with live_server.LiveServer(folder / 'done', port=0) as server:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connection = http.client.HTTPConnection('127.0.0.1', server.server_address[1], timeout=10)
    connection.request('GET', '/')
    assert b'90 %' in connection.getresponse().read() and server.url.startswith('http://127.0.0.1:')
    server.shutdown()


@pytest.mark.parametrize('path', [
    '/done/secret/journal.jsonl', '/done/secret', '/secret/journal.jsonl', '/done/../done/secret/journal.jsonl',
    '/done/%2e%2e/outside.json', '/../outside.json', '/%2e%2e%2foutside.json', '/done',
    '/cell.log', '/done/report.json/', '/nothing/', '/done/secret%2fjournal.jsonl', '/report.json'])
def test_nothing_else_is_served(served, path):
  _, ask = served
  status, page = ask(path)
  assert status == 404 and 'who took part' not in page and 'outside' not in page and 'a log' not in page


def test_it_reads_only_and_only_for_this_machine(served):
  folder, ask = served
  before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob('*'))
  assert ask('/', Host='attacker.example:80')[0] == 403 and ask('/', Host='localhost:1')[0] == 200
  assert all(ask('/done/report.json', method)[0] == 501 for method in ('POST', 'PUT', 'DELETE'))
  ask('/done/')
  assert before == sorted((path, path.stat().st_mtime_ns) for path in folder.rglob('*'))


def test_a_browser_that_names_no_port_is_answered(served):
  _, ask = served
  assert ask('/', Host='localhost')[0] == 200 and ask('/', Host='127.0.0.1')[0] == 200
  assert ask('/', Host='attacker.example')[0] == 403 and ask('/', Host='')[0] == 403


@pytest.mark.parametrize('name', ['config.json', 'metrics.csv', 'report.html'])
@pytest.mark.parametrize('content', [b'', b'\xff\xfe<body>\n\x00,1\n', b'[' * 100_000,
                                     b'{"program": {"rounds": 1e999}}'])
def test_a_damaged_file_of_one_run_does_not_hide_the_others(served, name, content):
  folder, ask = served
  (folder / 'done' / name).write_bytes(content)
  status, page = ask('/')
  assert status == 200 and 'round 2 of 9' in page and 'done</a>: finished' in page
  status, page = ask('/metrics')
  assert status == 200 and 'tff_vision_round{run="under <way>"} 2.0' in page
  assert ask('/done/')[0] == 200


def test_a_folder_that_was_moved_is_answered(served):
  folder, ask = served
  folder.rename(folder.with_name('elsewhere'))
  for path in ('/', '/done/', '/metrics'):
    assert ask(path)[0] == 404
  folder.with_name('elsewhere').rename(folder)
  assert ask('/')[0] == 200


def test_prometheus_gets_the_latest_released_numbers(tmp_path):
  for name, rows in (('a', ['1,0.5,', '2,,1.25']), ('b', []), ('diverged', ['1,0.5,1.0', '2,nan,inf'])):
    run = tmp_path / name
    run.mkdir()
    (run / 'config.json').write_text('{"program": {"rounds": 7}}')
    (run / 'metrics.csv').write_text('\n'.join(['round,evaluation/accuracy,privacy/epsilon_rdp', *rows]) + '\n')
  (tmp_path / 'a' / 'report.json').write_text('{}')
  with live_server.LiveServer(tmp_path, port=0) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with urllib.request.urlopen(server.url + 'metrics') as answer:
      assert answer.headers['Content-Type'].startswith('text/plain')
      said = answer.read().decode()
    server.shutdown()
  for line in ('tff_vision_round{run="a"} 2.0', 'tff_vision_rounds{run="b"} 7.0', 'tff_vision_finished{run="a"} 1.0',
               'tff_vision_finished{run="b"} 0.0', 'tff_vision_value{name="evaluation/accuracy",run="a"} 0.5',
               'tff_vision_value{name="privacy/epsilon_rdp",run="a"} 1.25',
               'tff_vision_value{name="evaluation/accuracy",run="diverged"} NaN',
               'tff_vision_value{name="privacy/epsilon_rdp",run="diverged"} +Inf'):
    assert line in said.splitlines(), said
