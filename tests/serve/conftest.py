from pathlib import Path

import pytest

from release.tiny import save_model, tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 128 tokens' context that answers one question with yes."""
    root = tmp_path_factory.mktemp("served")
    tokenizer = tiny_tokenizer(root)
    save_model(tiny_model(tokenizer), tokenizer, root / "tiny")
    return root / "tiny"
