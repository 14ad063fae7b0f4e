"""Arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

STAGES = (
    "minimed, general, extra, corpus, contamination, tokens, base, pretrain, merge, prompts, finetune, evaluate, report"
)
"""The stages of a run in their order, for help texts (a test holds it to the pipeline's own list)."""

RecipePath = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A YAML file, or a recipe of the package by name, as minimed.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in pretrain.lr=1e-5. May be repeated."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Keys to override, as --set does.", show_default=False),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would run and why, and what is wrong; change nothing.")
]
Retrain = Annotated[bool, typer.Option("--retrain", help="Yes to training finished models again, where that is due.")]
RunDirectory = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, as runs/minimed.")]
ModelFolder = Annotated[str, typer.Argument(metavar="MODEL", help="A Hugging Face folder or a hub id.")]
Host = Annotated[str, typer.Option(help="Address to listen at; any but loopback needs a token.")]
Port = Annotated[int, typer.Option(help="Port to listen at.")]
Token = Annotated[str | None, typer.Option(envvar="PMC_LLAMA_TOKEN", help="What clients must send as bearer token.")]


def joined(overrides: list[str] | None, settings: list[str] | None) -> list[str]:
    """Overrides as arguments and as options, in this order: a key that is given twice takes the option's value."""
    return [*(overrides or []), *(settings or [])]
