"""For the shell: version and completion."""

import platform

import msgspec

from meshnode import __version__
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, output_option

# All three ask ``meshnode complete``, which knows verbs, options and the names that live in the mesh.
_BASH = """# bash completion of meshnode: source <(meshnode completion bash)
_meshnode() {
    local word="${COMP_WORDS[COMP_CWORD]}" said
    said="$(meshnode complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
    case "$said" in
        ::files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        ::directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
        "") COMPREPLY=() ;;
        *) mapfile -t COMPREPLY <<< "$said" ;;
    esac
}
complete -F _meshnode meshnode"""
_ZSH = """# zsh completion of meshnode: source <(meshnode completion zsh)
_meshnode() {
    local word="${words[CURRENT]}" said
    said="$(meshnode complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"
    case "$said" in
        ::files) _files ;;
        ::directories) _files -/ ;;
        "") return 1 ;;
        *) compadd -- "${(@f)said}" ;;
    esac
}
compdef _meshnode meshnode"""
_FISH = """# fish completion of meshnode: meshnode completion fish | source
function __meshnode
    set -l words (commandline -opc)
    set -l said (meshnode complete -- $words[2..] (commandline -ct) 2>/dev/null)
    switch "$said[1]"
        case ::files
            __fish_complete_path (commandline -ct)
        case ::directories
            __fish_complete_directories (commandline -ct)
        case '*'
            printf '%s\\n' $said
    end
end
complete -c meshnode -f -a '(__meshnode)'"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


class VersionView(msgspec.Struct, frozen=True):
    """What this command line is."""

    version: str
    python: str
    machine: str


def _version(given: Given) -> int:
    view = VersionView(__version__, platform.python_version(), platform.machine())
    line = f"meshnode {view.version} (Python {view.python}, {view.machine})"
    show_one(given, view, lambda: [line], view.version)
    return 0


def _completion(given: Given) -> int:
    print(_SCRIPTS[given.shell])
    return 0


def _completion_options(parser: Parser) -> None:
    parser.add_argument("shell", choices=tuple(_SCRIPTS))


def _complete(given: Given) -> int:
    from meshnode.cli.completing import candidates

    words: list[str] = given.dashed or [""]
    print("\n".join(candidates(words[:-1], words[-1])))
    return 0


def _complete_options(parser: Parser) -> None:
    parser.epilog = "behind --: the words of the command line up to the cursor, the one under it last"


VERBS = {
    "version": Verb(options=output_option, run=_version),
    "completion": Verb(options=_completion_options, run=_completion),
    "complete": Verb(options=_complete_options, run=_complete, dashed=True),
}
