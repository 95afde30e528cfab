"""Write the figures of `betafold-mlx evaluate-generator --json` into a model card and the docs, between their marks.

    python scripts/_write_generator_figures.py TEST.json docs/generate.md weights/betafold-par/README.md

No figure is typed: between ``<!-- NAME -->`` and ``<!-- /NAME -->`` stands what the section of that name prints below.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from betafold_mlx.generate.assessment_report import method_table, prompt_table

Document = dict[str, Any]


def generator(document: Document) -> str:
    """Return the model beside the baselines, and the command that measured them."""
    command = document["command"]
    made = (
        f"`betafold-mlx evaluate-generator DATASET --split {command['split']} --num {command['num']} "
        f"--seed {command['seed']} --steps {command['steps']} --ode-steps {command['ode_steps']} "
        f"--gamma {command['gamma']:g}`"
    )
    model, data = document["model"], document["dataset"]["sha256"][:12]
    said = f"{made};\nmodel {model['name']} {model['sha256'][:12]}, data set {data}."
    return f"{method_table(document).markdown()}\n\n{said}"


def generator_prompts(document: Document) -> str:
    """Return how well prompts are followed."""
    table = prompt_table(document)
    return table.markdown() if table else "No prompts were measured."


def generator_speed(document: Document) -> str:
    """Return how fast it was, on the machine that measured."""
    speed = document["speed"]
    return f"{speed['draw_per_second']:.0f} traces drawn, and {speed['fit_per_second']:.0f} backbones fitted, a second."


SECTIONS: dict[str, Callable[[Document], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (generator, generator_prompts, generator_speed)
}


def fill(text: str, document: Document) -> str:
    """Return a text with the sections between its marks written anew."""

    def section(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- {name} -->\n{SECTIONS[name](document)}\n<!-- /{name} -->"

    return re.sub(rf"<!-- ({'|'.join(SECTIONS)}) -->.*?<!-- /\1 -->", section, text, flags=re.DOTALL)


def main(arguments: Sequence[str]) -> None:
    """Fill the files."""
    document = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    for path in map(Path, arguments[1:]):
        path.write_text(fill(path.read_text(encoding="utf-8"), document), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
