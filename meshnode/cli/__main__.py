"""``python -m meshnode.cli``: the same as the ``meshnode`` script."""

from meshnode.cli.main import entry

entry()
