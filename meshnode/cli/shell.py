"""For the shell: version and completion."""

import platform

import msgspec

from meshnode import __version__
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, output_option
from meshnode.cli.verbs import VERBS as ALL

_BASH = """# bash completion of meshnode: source <(meshnode completion bash)
_meshnode() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" verb="" dir=() at
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "${COMP_WORDS[at]}" in
            -C) dir=(-C "${COMP_WORDS[at+1]}"); ((at++)) ;;
            -*) ;;
            *) verb="${COMP_WORDS[at]}"; break ;;
        esac
    done
    local names=""
    case "$before" in
        -C) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        -f) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        -o) names="table wide json yaml name jsonl" ;;
        *)
            case "$verb" in
                "") names="@VERBS@" ;;
                run) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
                get|describe|delete) names="nodes agents skills agentclusters" ;;
                state)
                    names="list show history diff restore forget"
                    if [[ $before != state ]]; then
                        names="$(meshnode "${dir[@]}" ps -o name 2>/dev/null | sed 's,^agent/,,')"
                    fi ;;
                demo) names="failover partition" ;;
                ping) names="$(meshnode "${dir[@]}" ls -o name 2>/dev/null | sed 's,^node/,,')" ;;
                why) names="$(meshnode "${dir[@]}" ls -o name 2>/dev/null)" ;;
                stop|restart|scale|logs|checkpoint|ps)
                    names="$(meshnode "${dir[@]}" ps -o name 2>/dev/null | cut -d/ -f2 | sort -u)" ;;
                call|find) names="$(meshnode "${dir[@]}" skills -o name 2>/dev/null | sed 's,^skill/,,' | sort -u)" ;;
                completion) names="bash" ;;
            esac ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
}
complete -F _meshnode meshnode"""


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


def _completion(_given: Given) -> int:
    print(_BASH.replace("@VERBS@", " ".join(ALL)))
    return 0


def _completion_options(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash",))


VERBS = {
    "version": Verb(options=output_option, run=_version),
    "completion": Verb(options=_completion_options, run=_completion),
}
