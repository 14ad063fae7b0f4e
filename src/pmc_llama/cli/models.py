"""Verbs for models: what fits this machine, export, publish, serve, chat."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pmc_llama.cli.options import Host, ModelFolder, Port, RecipePath, RunDirectory, Settings, Token


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(epilog="Example: pmc-llama doctor")(doctor)
    app.command(epilog="Example: pmc-llama plan pmc-llama-7b --gpus 8xA100-80GB")(plan)
    app.command(epilog="Example: pmc-llama update runs/minimed --source 'new/*.jsonl.gz' -o runs/minimed-2")(update)
    app.command(epilog="Example: pmc-llama export runs/minimed -o exported/adapted")(export)
    app.command(epilog="Example: pmc-llama convert SmolLM2-135M-Instruct.Q4_1.gguf -o models/smollm2")(convert)
    app.command(epilog="Example: pmc-llama publish exported/adapted --repo my-lab/my-model")(publish)
    app.command(epilog="Example: pmc-llama serve exported/adapted --port 8000")(serve)
    app.command(epilog="Example: pmc-llama chat exported/adapted")(chat)


def doctor() -> None:
    """Say what this machine can do and how to start."""
    from pmc_llama.doctor import diagnose

    diagnosis = diagnose()
    print(diagnosis)
    raise typer.Exit(0 if diagnosis.healthy else 1)


def plan(
    recipe: RecipePath,
    gpus: Annotated[str, typer.Option(help="How many of which, as 8xA100-80GB, or auto.")] = "auto",
    mfu: Annotated[float | None, typer.Option(help="Assumed share or percentage of the hardware's peak.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens of one epoch, as 75e9.")] = None,
    usd_per_gpu_hour: Annotated[float | None, typer.Option(help="Price, for the cost.")] = None,
    memory_gb: Annotated[float | None, typer.Option(help="Memory of a GPU that is not known.")] = None,
    tflops: Annotated[float | None, typer.Option(help="Its dense bf16 peak.")] = None,
    settings: Settings = None,
) -> None:
    """Say what a recipe needs on GPUs: memory, time, cost."""
    from pmc_llama.model.gpus import asked_gpus
    from pmc_llama.plan import MFU, render
    from pmc_llama.plan import plan as make_plan
    from pmc_llama.recipe import load_recipe

    assumed = MFU if mfu is None else mfu
    loaded = load_recipe(recipe, settings)
    hardware = asked_gpus(gpus, memory_gb, tflops)
    stages = make_plan(loaded, hardware, mfu=assumed, tokens_per_epoch=tokens, usd_per_gpu_hour=usd_per_gpu_hour)
    print(render(stages, hardware, assumed))


def update(
    run: RunDirectory,
    source: Annotated[list[str], typer.Option(help="New shards, wildcards allowed. May be repeated.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="RUN", help="Run directory of the revision.")],
    papers: Annotated[list[str] | None, typer.Option(help="New `papers` shards. May be repeated.")] = None,
    replay: Annotated[float, typer.Option(help="Share of old papers in training.")] = 0.25,
    settings: Settings = None,
) -> None:
    """Make the next revision of a run from new papers."""
    from pmc_llama.pipeline.run import run_recipe
    from pmc_llama.release.update import update as make_revision

    print(make_revision(run, source, out, run=run_recipe, papers=papers or (), replay=replay, settings=settings or ()))


def export(
    run: RunDirectory,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder to write; must not exist.")],
    model: Annotated[str, typer.Option(help="base, adapted, or a tuned one as full/adapted/seed-0.")] = "adapted",
    adapter: Annotated[bool, typer.Option("--adapter", help="Keep a LoRA adapter apart from its base.")] = False,
    base_repo: Annotated[str | None, typer.Option(help="Hub id of the base, for an adapter of a local one.")] = None,
    dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="Of the weights: auto (as the base's own), fp32, bf16 or fp16."),
    ] = "auto",
    allow_worse: Annotated[
        bool, typer.Option("--allow-worse", help="Also a revision that is significantly worse than the one before.")
    ] = False,
) -> None:
    """Write a model of a run as a Hugging Face folder with its card."""
    from pmc_llama.release.export import export_model

    export_model(run, out, which=model, merged=not adapter, base_repo=base_repo, dtype=dtype, allow_worse=allow_worse)
    print(f"exported to {out}")


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A .gguf file, or the folder of one, or of pytorch_model*.bin.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder to write; must not exist.")],
) -> None:
    """Turn GGUF or an old checkpoint into safetensors.

    Of `pytorch_model*.bin` no code that it might hold is run.
    """
    from pmc_llama.model.convert import convert as convert_model

    convert_model(source, out)
    print(f"written to {out}")


def publish(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An exported model, or a corpus.")],
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Repository on the hub.")],
    tag: Annotated[str | None, typer.Option(help="Name of the revision, as v1.0.")] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Of a repository that is made: who can see it.")
    ] = True,
    really: Annotated[
        bool, typer.Option("--really", help="Upload; without it, only say what would be uploaded.")
    ] = False,
) -> None:
    """Upload a folder to the hub. Without --really it is a dry run."""
    from pmc_llama.release.hub import publish as publish_folder

    print(publish_folder(folder, repo, revision_tag=tag, private=private, dry_run=not really))


def serve(
    model: ModelFolder,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    web: Annotated[bool, typer.Option("--web", help="Show the multiple-choice page, too, at /.")] = False,
    beside: Annotated[str | None, typer.Option(help="With --web: a second model, shown beside the first.")] = None,
    dtype: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Of the weights in memory; auto is fp32 on CPUs.")
    ] = "auto",
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="For the tokens of running requests; default: 30% of what is free."),
    ] = None,
) -> None:
    """Serve a model through OpenAI's API, and as a page."""
    from pmc_llama.serve import server
    from pmc_llama.serve.engine import Limits

    limits = Limits(memory_bytes=None if memory is None else int(memory * 2**30))
    server.serve(model, host=host, port=port, token=token, page=web, beside=beside, dtype=dtype, limits=limits)


def chat(
    model: ModelFolder,
    max_tokens: Annotated[int, typer.Option(help="Longest answer in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.0,
) -> None:
    """Talk with a model in the terminal."""
    from pmc_llama.serve.chat import chat as start_chat

    start_chat(model, max_tokens=max_tokens, temperature=temperature)
