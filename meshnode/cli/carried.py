"""Files that manifests name: found beside the manifest, and carried along by their content.

``run: {file: words.py}`` in a manifest means the file in the manifest's own folder. It becomes an absolute path and a
``bundle``, so that nodes without the file can run it, too.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshnode.cli.manifests import STDIN, Source
from meshnode.cli.run import agent_source
from meshnode.model.commands import JsonObject
from meshnode.model.errors import Invalid
from meshnode.model.fields import show_path


def carry(source: Source) -> None:
    """Resolve the files of one manifest, in place, and keep their contents, which have to be stored before it.

    Raises:
        Invalid: ``FILE:LINE: FIELD: what is wrong``.
    """
    folder = Path.cwd() if source.file == STDIN else Path(source.file).absolute().parent
    for path, run in _runs(source.manifest):
        named = run.get("file")
        if not isinstance(named, str) or not named or "\0" in named:
            continue  # whatever is wrong with it is told by the check of the whole
        file = folder / named
        run["file"] = str(file)
        if "bundle" in run or (named.startswith("/") and not file.is_file()):
            continue  # known by its content; or it lies on other machines, at this very path
        content = _content(source, file, [*path, "file"])
        run["bundle"] = hashlib.sha256(content).hexdigest()
        run.setdefault("cwd", str(file.parent))
        source.contents.append(content)


def _content(source: Source, file: Path, path: list[str | int]) -> bytes:
    why, step = f"{file} does not use meshnode.sdk", "other programs are a command: run: {command: [...]}"
    try:
        content = agent_source(file)
        if content is not None:
            return content
    except Invalid as error:
        why, step = error.message, error.next_step
    except OSError as error:
        why, step = (
            f"{file} cannot be read: {error.strerror}",
            "write the path of a Python file, from the manifest's folder",
        )
    raise source.placed(Invalid(f"{show_path(path)}: {why}", next_step=step, details={"path": path}))


def _runs(manifest: JsonObject) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every ``run`` mapping of a manifest, and the path to it."""
    spec = _mapping(manifest.get("spec"))
    run = _mapping(spec.get("run"))
    if run:
        yield ("spec", "run"), run
    agents: Any = spec.get("agents")
    for number, entry in enumerate(agents if isinstance(agents, list) else []):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - YAML, not checked yet
        run = _mapping(_mapping(entry).get("run"))
        if run:
            yield ("spec", "agents", number, "run"), run


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML, not checked yet
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType] - keys are checked later
