"""Tab completion of commands, switches, options and keys in bash and zsh.

Click finds what fits; two short scripts ask it. They hand over the line as typed up to the cursor, get back
one word a line, and add a space behind a word unless it ends in `=`. Without an answer the shell completes
file names.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

# Bash cuts words at `=` and `:`; it passes the piece under the cursor as $2, and wants it alone back.
BASH = """\
_primer_complete() {
    local line="${COMP_LINE:0:COMP_POINT}"
    mapfile -t COMPREPLY < <(_PRIMER_COMPLETE=bash_complete COMP_LINE="$line" COMP_WORD="$2" "$1")
    [[ ${COMPREPLY[0]} ]] || { COMPREPLY=(); return; }
    COMPREPLY=("${COMPREPLY[@]/%/ }")
    COMPREPLY=("${COMPREPLY[@]/%= /=}")
}
complete -o nospace -o default -F _primer_complete primer
"""
ZSH = """\
_primer_complete() {
    local -a found
    found=(${(f)"$(_PRIMER_COMPLETE=zsh_complete COMP_LINE="$words[1,CURRENT]" $words[1])"})
    compadd -S '' -- ${(M)found:#*=}
    compadd -- ${found:#*=}
    [[ -n $found ]] || { compset -P '*='; _files }
}
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
compdef _primer_complete primer
"""


class _Shell(ShellComplete):
    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() else (words[:-1], words[-1] if words else "")

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        return [item for item in found if item.type == "plain"]  # files and folders are the shell's to find

    def format_completion(self, item: CompletionItem[str]) -> str:
        _, word = self.get_completion_args()
        return item.value.removeprefix(word.removesuffix(os.environ.get("COMP_WORD", word)))


class Bash(_Shell):
    """`eval "$(primer completion bash)"` in ~/.bashrc; bash 4 or newer."""

    name = "bash"
    source_template = BASH


class Zsh(_Shell):
    """`eval "$(primer completion zsh)"` in ~/.zshrc."""

    name = "zsh"
    source_template = ZSH


SCRIPTS = {"bash": BASH, "zsh": ZSH}


def complete_override(context: click.Context, argument: click.Parameter, incomplete: str) -> list[str]:
    """`act` -> `activation=`; `activation=c` -> its options; `optimizer.` -> the option's keys."""
    from primer.config import keys_and_options

    words = context.params.get("overrides") or ()
    return keys_and_options(words, incomplete, config_dir=context.params.get("config_dir"))


add_completion_class(Bash)
add_completion_class(Zsh)
