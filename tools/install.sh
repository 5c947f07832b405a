#!/bin/sh
# Create .venv as uv.lock pins it. uv itself comes from PyPI, into .venv, where the machine has none.
set -eu
version=$1
if [ ! -x .venv/bin/python ]; then
    python3 -m venv .venv 2>/dev/null || {
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "python3-venv is missing: installing it with apt-get"
            apt-get install -y -q python3-venv >/dev/null
            python3 -m venv --clear .venv
        else
            echo "python3 -m venv does not work here: install the package python3-venv" >&2
            exit 1
        fi
    }
fi
if command -v uv >/dev/null 2>&1; then
    uv=uv
else
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$version"
    uv=.venv/bin/uv
fi
echo "installing what uv.lock pins into .venv"
"$uv" sync --quiet --frozen --inexact --python .venv/bin/python
