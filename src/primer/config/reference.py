"""The text of `primer train --help`: every switch with its options, every key with its meaning and value.

Made from the conf folders and the schemas, so it can't fall behind them.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from primer.config import schema
from primer.config.options import conf_dir, meaning, option_file, options, schema_of, values_of
from primer.config.wording import expected, shown

WIDTH = 100  # chosen: what a terminal shows beside an editor
INDENT = 33  # fits the longest key

USAGE = """\
Usage: primer train [-m] [KEY=VALUE]... [--config-dir DIR] [--cfg job] [--dry-run] [--debug]

Train one run, or with -m a sweep of them. A switch chooses an option, a key sets a value:

  primer train                                            the default run, marked * below
  primer train activation=custom_relu seed=1              another activation, another seed
  primer train optimizer=sgd optimizer.lr=0.1             a key of the chosen option
  primer train data=table data.path=houses.csv data.target=price
  primer train experiment=primer/manual                   a run of the article
  primer train -m activation=relu,tanh 'seed=range(5)'    a sweep: a run for each combination
  primer train --config-dir my_conf net=my_net            your own part: my_conf/net/my_net.yaml

  --config-dir DIR               a folder of your own options; before --help it lists them too
  -m, --multirun                 a sweep; its own switches are at the end
  --dry-run                      of a sweep: print the plan and stop
  --cfg job                      print the whole config and stop
  --debug                        train in this process, for breakpoints
  -h, --help                     print this and stop

Beside each key: what it means, what it expects, and [its value].

"""
SWEEP = {
    "hydra/launcher": "of a sweep: where its jobs are run",
    "hydra/sweeper": "of a sweep: what its jobs are; basic: each combination",
}
CHOSEN = {"hydra/launcher": "local", "hydra/sweeper": "basic"}
EXPERIMENT = {"experiment": "a named set of switches and keys"}


def reference(config_dir: str | Path | None = None) -> str:
    """The whole help text, with the user's own options when there are some.

    >>> "optimizer.lr" in reference()
    True
    """
    train = yaml.load((conf_dir() / "train.yaml").read_text(), Loader=yaml.BaseLoader)
    entries = [entry for entry in train["defaults"] if isinstance(entry, dict)]  # - data: digits
    chosen = CHOSEN | {group: option for entry in entries for group, option in entry.items()}
    fields = schema.fields_of(schema.Train)
    titles = {name: field.metadata["help"] for name, field in fields.items()} | EXPERIMENT | SWEEP
    parts = [USAGE, "Keys of the run\n"]
    parts += [_row(name, _meant(field), train[name]) for name, field in fields.items() if name in train]
    for group in (*schema.GROUPS, *SWEEP):
        files = {name: option_file(group, name, config_dir) for name in options(group, config_dir=config_dir)}
        parts.append(f"\n{group}=OPTION".ljust(INDENT + 1) + f"{titles[group]}\n")
        for name, file in files.items():
            parts.append(_row(f"{'*' if name == chosen[group] else ' '} {name}", meaning(file)))
        parts += _key_rows(group.replace("/", "."), files) if group not in EXPERIMENT else []
    return "".join(parts)


def _key_rows(group: str, files: dict[str, Path]) -> list[str]:
    """A row for each key of a group's options; options that mean the same by it share the row."""
    rows: dict[tuple[str, str], dict[str, str]] = {}  # (key, what it means): the value at each option
    for option, file in files.items():
        fields = schema.fields_of(schema_of(file))
        values = {name: value for name, value in values_of(file).items() if not name.startswith("_")}
        for name, value in values.items():
            meant = _meant(fields[name]) if name in fields else "a key of this part alone"
            rows.setdefault((name, meant), {})[option] = shown(value)
    return [_row(f"{group}.{name}", meant, _values(at, files)) for (name, meant), at in rows.items() if meant]


def _meant(field: dataclasses.Field[Any]) -> str:
    return f"{field.metadata['help']}\n{expected(field)}" if "help" in field.metadata else ""


def _values(at: dict[str, str], options: Collection[str]) -> str:
    """The value of a key, by option where the options differ.

    >>> _values({"adam": "0.1", "adamw": "0.1"}, ["adam", "adamw"])
    '0.1'
    >>> _values({"adam": "0.1", "sgd": "1"}, ["adam", "adamw", "sgd"])
    'adam: 0.1, sgd: 1'
    """
    values = {value: [option for option in at if at[option] == value] for value in at.values()}
    others = [option for option in options if option not in at]
    if len(values) == 1 and len(others) <= 1 < len(at):
        return "".join(values) + (f"; {others[0]}: none" if others else "")
    return ", ".join(f"{'|'.join(names)}: {value}" for value, names in values.items())


def _row(name: str, text: str, value: str = "") -> str:
    """The name, beside it the text in lines that fit, and the value in brackets at its end."""
    text = f"{text} [{value.replace('???', 'must be given')}]" if value else text
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, WIDTH - INDENT)]
    return f"  {name:<{INDENT - 2}}" + f"\n{'':{INDENT}}".join(lines) + "\n"
