#!/usr/bin/env bash
# The unit tests on the other supported Python, where one runs (a name on the path may be a shim that does not).
set -euo pipefail
cd "$(dirname "$0")/../.."
other=""
for name in python3.12 python3.11; do
  if "$name" -c 'import sys, venv, ensurepip' >/dev/null 2>&1; then
    version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$version" != "$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ] && other="$name"
  fi
done
if [ -z "$other" ]; then
  echo "unit tests on a second Python: none runs here"
  exit 0
fi
stamp=.venvs/$other/installed.stamp
if [ ! -e "$stamp" ] || [ requirements/dev.txt -nt "$stamp" ]; then
  "$other" -m venv ".venvs/$other"
  ".venvs/$other/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
  ".venvs/$other/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  touch "$stamp"
fi
".venvs/$other/bin/python" -m pytest -q tests/unit
