"""Why a process ended, in words a person can act on."""

LINE_CHARS_MAX = 200


def exit_in_words(code: int, signal: str, tail: str) -> str:
    """For example ``exited with code 1: ZeroDivisionError: division by zero``."""
    end = f"killed by {signal}" if signal else f"exited with code {code}"
    line = last_line(tail)
    return f"{end}: {line}" if line else end


def last_line(tail: str) -> str:
    """The last line with something on it: of a Python traceback, the one that names the error."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    if not lines:
        return ""
    return "".join(c if c.isprintable() else "?" for c in lines[-1][:LINE_CHARS_MAX])


def wait_in_words(wait_us: int) -> str:
    return f"{wait_us / 1e6:.1f} s"
