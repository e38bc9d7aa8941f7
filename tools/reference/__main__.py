"""Write docs/reference; ``--check`` only says which pages are not what would be written."""

import sys

from tools.reference.book import FOLDER, pages


def main(argv: list[str]) -> int:
    old = [name for name, text in pages().items() if not _is(name, text)]
    if "--check" in argv:
        sys.stdout.writelines(f"docs/reference/{name} is old: make reference\n" for name in old)
        return 1 if old else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    sys.stdout.writelines(f"docs/reference/{name}\n" for name in pages())
    return 0


def _is(name: str, text: str) -> bool:
    try:
        return (FOLDER / name).read_text(encoding="utf-8") == text
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
