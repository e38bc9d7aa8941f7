"""The entry of an agent that was forked from a warm interpreter: runs its file as ``python FILE`` would."""

import builtins
import os
import sys
import traceback
from types import CodeType, ModuleType


def compiled(path: str) -> CodeType:
    """The code of a file, for ``main``: whoever forks many agents of one file compiles it once.

    Raises:
        OSError, SyntaxError, ValueError: there is none; ``main`` without the code says so to the agent's own log.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not needed by every agent
        return compile(file.read(), path, "exec", dont_inherit=True)


def main(path: str, argv: list[str], code: CodeType | None = None) -> int:
    """Run the file as ``__main__`` and return the exit code; what goes wrong is printed to standard error.

    Args:
        path: absolute, of a Python file. Its folder becomes the first of ``sys.path``.
        argv: arguments, without the file's name.
        code: of the file, if ``compiled`` before.
    """
    sys.argv = [path, *argv]
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120
    module = ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    try:
        exec(code or compiled(path), module.__dict__)  # noqa: S102 - running the file is the purpose
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
