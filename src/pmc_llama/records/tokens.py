"""What a token store says of itself: `store.json`."""

from pathlib import Path

import msgspec

from pmc_llama.errors import StoreError
from pmc_llama.run_dir import StoreDir

FORMAT = "pmc-llama token store 1"


class ShardFile(msgspec.Struct, frozen=True):
    """One file of token ids."""

    file: str
    documents: int
    tokens: int
    sha256: str


class StoreInfo(msgspec.Struct, frozen=True):
    """`store.json`."""

    format: str
    tokenizer_sha256: str
    vocab_size: int
    dtype: str
    """`uint16` or `uint32`, little-endian."""
    bos_eos: str
    corpora: list[str]
    """Hashes of the corpora that it was made from, in the order in which they were appended."""
    heldout_fraction: float
    documents: int
    empty_documents: int
    tokens: int
    heldout_documents: int
    heldout_tokens: int
    offsets_sha256: str
    documents_sha256: str
    shards: list[ShardFile]

    def content(self) -> dict[str, str]:
        """What the store holds, as hashes by name: the same for the same documents, tokens, split and tokenizer."""
        shards = {shard.file: shard.sha256 for shard in self.shards}
        index = {"offsets": self.offsets_sha256, "documents": self.documents_sha256}
        return shards | index | {"tokenizer": self.tokenizer_sha256}


def read_store_info(path: Path) -> StoreInfo:
    """The value of a store's `store.json`. Raises StoreError where there is none of this format."""
    try:
        content = StoreDir(path).info.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"token store {path} is not there or not finished: it has no store.json") from None
    try:
        msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise StoreError(f"token store {path}: store.json is not valid JSON: {error}") from None
    try:
        info = msgspec.json.decode(content, type=StoreInfo)
    except msgspec.ValidationError:
        info = None
    if info is None or info.format != FORMAT:
        raise StoreError(f"token store {path}: store.json is not of the format {FORMAT!r}")
    return info
