"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real papers, questions and tokenizer; it is not part of the project, so tests skip without it."""
    root = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real data not at {root} (set PMC_LLAMA_SHARED_DATA to the folder that has it)")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first, other long tests in the middle: two workers that take a half each begin with what is long.

    What is left at the end, when one has to take from the other, is short.
    """
    runs = [item for item in items if "e2e" in item.path.parts]
    long = [item for item in items if "e2e" not in item.path.parts and item.get_closest_marker("slow")]
    apart = {*runs, *long}
    short = [item for item in items if item not in apart]
    before = max(0, len(items) // 2 - len(runs))
    items[:] = [*runs, *short[:before], *long, *short[before:]]
