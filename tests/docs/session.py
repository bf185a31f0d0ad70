"""Python as a reader has it open beside a page: runs the blocks that come, one JSON line each."""

from __future__ import annotations

import doctest
import json
import os
import sys
import traceback
from typing import Any

NAMESPACE: dict[str, Any] = {"__name__": "page"}


def run(source: str, name: str, line: int, is_doctest: bool) -> str:
    """What went wrong; nothing if all is as the page says."""
    if not is_doctest:
        try:
            exec(compile("\n" * line + source, name, "exec"), NAMESPACE)
        except BaseException:
            return traceback.format_exc()
        return ""
    examples = doctest.DocTestParser().get_doctest(source, {}, f"{name}:{line}", name, line)
    examples.globs = NAMESPACE
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(examples, out=told.append, clear_globs=False)
    return "".join(told)


if __name__ == "__main__":
    sys.path[0] = ""  # the folder that the reader is in
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what blocks print is not an answer
    for question in sys.stdin:
        print(json.dumps(run(**json.loads(question))), file=answers, flush=True)
