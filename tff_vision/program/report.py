"""report.html (stand-in until the real one is merged)."""


def write_html(path, report, images):
  path.write_text('<!doctype html><title>run</title>')
