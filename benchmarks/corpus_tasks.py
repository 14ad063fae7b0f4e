"""The tasks that benchmarks/corpus.py times, each run in a process of its own: TASK SHARDS WORKERS."""

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Task = Callable[[], int]


def isal_bare(shards: list[Path]) -> Task:
    from isal import igzip

    def run() -> int:
        size = 0
        for path in shards:
            with igzip.open(path, "rb") as file:
                while chunk := file.read1(2**20):
                    size += len(chunk)
        return size

    return run


def ours_select(shards: list[Path]) -> Task:
    from pmc_llama.corpus.clean import Cleaner
    from pmc_llama.corpus.paper import Skip
    from pmc_llama.corpus.readers.base import Options
    from pmc_llama.corpus.readers.sniff import reader_for
    from pmc_llama.corpus.select import Selector
    from pmc_llama.corpus.storage import InputFile
    from pmc_llama.recipe.corpus import CleanSection, SelectSection

    selector = Selector(SelectSection())
    options = Options("s2orc", Cleaner(CleanSection(profile="raw")).kinds, selector.refuse_ids)

    def run() -> int:
        count = 0
        for path in shards:
            reader = reader_for(str(path), "auto")
            for block in reader.blocks(InputFile(str(path), hashed=False), options):
                for record in block.records:
                    try:
                        count += selector.refuse(reader.paper(record, options)) is None
                    except Skip:
                        continue
        return count

    return run


def stdlib_select(shards: list[Path]) -> Task:
    import gzip

    def run() -> int:
        count = 0
        for path in shards:
            with gzip.open(path, "rb") as file:
                for line in file:
                    row = json.loads(line)
                    count += row["externalids"]["pubmedcentral"] is not None and bool(row["content"]["text"])
        return count

    return run


def ours_build(shards: list[Path], workers: int, times: int = 1) -> Task:
    from pmc_llama.corpus.build import build_corpus
    from pmc_llama.recipe.corpus import CorpusSection

    out = shards[0].parent / "ours"
    shutil.rmtree(out, ignore_errors=True)
    sources = [{"name": f"s2orc{n}", "paths": ["s2orc_*.gz"]} for n in range(times)]
    section = CorpusSection.model_validate({"sources": sources, "dedup": {"exact": False}})
    return lambda: int(build_corpus(section, shards[0].parent, out, workers=workers).kept)


def adapt(self: Any, row: dict[str, Any], path: str, place: int) -> dict[str, Any]:
    """datatrove's way to take a document out of a record of another shape."""
    ids, content = row["externalids"], row["content"]
    metadata = {"pmcid": ids["pubmedcentral"], "corpusid": row["corpusid"], "annotations": content["annotations"]}
    return {"text": content["text"], "id": str(row["corpusid"]), "metadata": metadata}


def peer_blocks(shards: list[Path]) -> tuple[Any, Any]:
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import JsonlReader

    reader = JsonlReader(str(shards[0].parent), glob_pattern="s2orc_*.gz", adapter=adapt, add_file_path=False)
    return reader, LambdaFilter(lambda document: document.metadata["pmcid"] is not None)


def datatrove_select(shards: list[Path]) -> Task:
    reader, keep = peer_blocks(shards)
    return lambda: sum(1 for _ in keep.run(reader.run(None, 0, 1), 0, 1))


def datatrove_build(shards: list[Path]) -> Task:
    """The same selection and the same cleaning rules as blocks of a datatrove pipeline, with its Parquet writer."""
    import orjson
    from datatrove.data import Document
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.writers import ParquetWriter

    from pmc_llama.corpus.clean import Cleaner
    from pmc_llama.corpus.paper import Paper, Span, tidy_spans
    from pmc_llama.recipe.corpus import CleanSection

    cleaner, count = Cleaner(CleanSection()), 0

    class Clean(PipelineStep):
        name = "clean"

        def run(self, data: Iterator[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
            nonlocal count
            for document in data:
                spans = []
                for kind, encoded in document.metadata.pop("annotations").items():
                    if encoded and kind in cleaner.kinds:
                        for item in orjson.loads(encoded):
                            attributes = item.get("attributes") or {}
                            ref = attributes.get("id") or attributes.get("ref_id")
                            spans.append(Span(kind, item["start"], item["end"], ref, attributes.get("n")))
                paper = Paper(text=document.text, spans=tidy_spans(spans, len(document.text))[0])
                document.text = cleaner.text(paper)[0]
                count += 1
                yield document

    out = shards[0].parent / "peer"
    shutil.rmtree(out, ignore_errors=True)
    reader, keep = peer_blocks(shards)
    blocks = (reader, keep, Clean(), ParquetWriter(str(out), compression="zstd"))

    def run() -> int:
        stream: Any = None
        for block in blocks:
            stream = block.run(stream, 0, 1)
        for _ in stream:
            pass
        return count

    return run


def main() -> None:
    task, shards, workers = sys.argv[1], sorted(Path(sys.argv[2]).glob("s2orc_*.gz")), int(sys.argv[3])
    if task.startswith("datatrove") and not task.endswith("isal"):
        # datatrove does not ask for isal, but fsspec, through which it reads, takes it where it is installed
        sys.modules["isal"] = None  # type: ignore[assignment]
    tasks: dict[str, Callable[[], Task]] = {
        "isal-bare": lambda: isal_bare(shards),
        "ours-select": lambda: ours_select(shards),
        "stdlib-select": lambda: stdlib_select(shards),
        "ours-build": lambda: ours_build(shards, workers),
        "ours-twice": lambda: ours_build(shards, workers, times=2),
        "datatrove-select": lambda: datatrove_select(shards),
        "datatrove-select-isal": lambda: datatrove_select(shards),
        "datatrove-build": lambda: datatrove_build(shards),
        "datatrove-build-isal": lambda: datatrove_build(shards),
    }
    run = tasks[task]()  # imports happen here, before the clocks start
    start_cpu_s, start_s = time.process_time(), time.monotonic()
    rows = run()
    me, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result = {
        "cpu_s": time.process_time() - start_cpu_s,
        "wall_s": time.monotonic() - start_s,
        "rows": rows,
        "peak_bytes": max(me.ru_maxrss, children.ru_maxrss) * 1024,
    }
    if task.startswith("datatrove"):
        from importlib.metadata import version

        result["version"] = version("datatrove")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
