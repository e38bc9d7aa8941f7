"""The entry of an agent that was forked from a warm interpreter: runs its file as ``python FILE`` would."""

import builtins
import os
import sys
import traceback
from types import ModuleType


def main(path: str, argv: list[str]) -> int:
    """Run the file as ``__main__`` and return the exit code; what goes wrong is printed to standard error.

    Args:
        path: absolute, of a Python file. Its folder becomes the first of ``sys.path``.
        argv: arguments, without the file's name.
    """
    sys.argv = [path, *argv]
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120 - pathlib is not needed by every agent
    module = ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - running the file is the purpose
    except SystemExit as ended:
        return _code_of(ended)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its top
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _code_of(ended: SystemExit) -> int:
    if ended.code is None:
        return 0
    if isinstance(ended.code, int):
        return ended.code
    print(ended.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1
