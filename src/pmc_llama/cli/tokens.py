"""Verbs on token stores: look into one, export one, append new papers to one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

tokens = typer.Typer(no_args_is_help=True, help="Inspect, export and append to token stores.")

Store = Annotated[Path, typer.Argument(metavar="STORE", help="A token store, as runs/minimed/tokens/corpus.")]


@tokens.command("inspect", epilog="Example: pmc-llama tokens inspect runs/minimed/tokens/corpus")
def inspect_tokens(
    store: Store,
    document: Annotated[str | None, typer.Option(help="Decode this document: a paper id, or its number.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="The tokenizer, to decode with.")] = None,
    start: Annotated[int, typer.Option(help="First token of the document to show.")] = 0,
    count: Annotated[int, typer.Option(help="How many tokens to show.")] = 200,
    verify: Annotated[bool, typer.Option(help="Read every byte and compare the hashes.")] = False,
) -> None:
    """Say what a token store holds, or decode one of its documents."""
    from pmc_llama.errors import InputError
    from pmc_llama.tokens.inspect import decode_document, describe

    if document is None:
        shown: Mapping[str, object] = describe(store, verify=verify)
    elif tokenizer is None:
        raise InputError("to decode a document give the tokenizer: --tokenizer path/to/tokenizer.model")
    else:
        shown = decode_document(store, tokenizer, document, start=start, tokens=count)
    for name, value in shown.items():
        print(f"{name:20} {value}")


@tokens.command(
    "export", epilog="Example: pmc-llama tokens export runs/minimed/tokens/corpus --format megatron -o exported"
)
def export_tokens(
    store: Store,
    format: Annotated[Literal["megatron", "datatrove", "huggingface"], typer.Option(help="Whose format.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="The store's tokenizer, to put BOS and EOS around each document.")
    ] = None,
) -> None:
    """Copy a store into another tool's format.

    Training and held-out documents are kept apart.
    """
    from pmc_llama.tokens.export import export_store

    for path in export_store(store, format, out, tokenizer):
        print(f"{path}  {path.stat().st_size:,} bytes")


@tokens.command(
    "append",
    epilog="Example: pmc-llama tokens append runs/minimed/tokens/corpus runs/later/corpus "
    "--tokenizer runs/minimed/data/tokenizer/tokenizer.model",
)
def append_tokens(
    store: Store,
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A later corpus, as runs/later/corpus.")],
    tokenizer: Annotated[Path, typer.Option(help="The store's tokenizer.")],
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Add the new papers of a later corpus to a store.

    What is there stays byte for byte.
    """
    from pmc_llama.recipe.tokens import TokensSection
    from pmc_llama.records.tokens import read_store_info
    from pmc_llama.tokens.encode import append_corpus

    before = read_store_info(store)
    section = TokensSection(heldout_fraction=before.heldout_fraction)
    after = append_corpus(section, corpus, tokenizer, store, workers=workers)
    documents, tokens = after.documents - before.documents, after.tokens - before.tokens
    print(f"{documents:,} documents and {tokens:,} tokens added; now {after.documents:,} documents")
