"""Kills the process groups of agents when their warden is gone without having done so.

The kernel ends an agent with its warden (PR_SET_PDEATHSIG), but not the children of the agent. So a shell of one
megabyte holds the other end of a pipe: when the warden dies, however it dies, the pipe closes and the shell kills what
is listed.
"""

import subprocess

_SCRIPT = """
trap '' TERM INT HUP
while read -r op group; do
    case $op in
    +) groups="$groups $group" ;;
    -)
        rest=
        for one in $groups; do [ "$one" = "$group" ] || rest="$rest $one"; done
        groups=$rest
        ;;
    esac
done
for one in $groups; do kill -s KILL -- "-$one"; done
"""


class Guard:
    """Groups under guard. The shell is started with the first one, and again if somebody killed it."""

    def __init__(self) -> None:
        self._groups: dict[int, None] = {}
        self._shell: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the shell; 0 while there is none."""
        return 0 if self._shell is None else self._shell.pid

    def add(self, group: int) -> None:
        self._groups[group] = None
        self._tell(f"+ {group}\n")

    def remove(self, group: int) -> None:
        """Before the last process of the group is reaped: afterwards its number may be somebody else's."""
        if group in self._groups:
            del self._groups[group]
            self._tell(f"- {group}\n")

    def close(self) -> None:
        """What is still listed is killed."""
        self._end_shell()
        self._groups.clear()

    def _tell(self, line: str) -> None:
        if self._shell is None:
            self._start()
        elif not self._write(line):
            self._end_shell()
            self._start()

    def _end_shell(self) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            self._shell.stdin.close()
            self._shell.wait()
        self._shell = None

    def _start(self) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - a constant
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
            bufsize=0,
        )
        self._write("".join(f"+ {group}\n" for group in self._groups))

    def _write(self, text: str) -> bool:
        assert self._shell is not None
        assert self._shell.stdin is not None
        try:
            self._shell.stdin.write(text.encode())
        except BrokenPipeError:
            return False
        return True
