"""The transformers tokenizer of a model, with the ids of the encoder: saved beside exported models and used by qa."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmc_llama.errors import InputError
from pmc_llama.files import read_json
from pmc_llama.model.tokenizer import folder_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "\u2581"
"""SentencePiece's visible space; one that stands in a text counts as a space."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
"""Types of pieces, numbers of SentencePiece's own format."""

_BPE = 2


def read_model(path: Path) -> Any:
    """Read a SentencePiece model as its protocol-buffer message. Raises InputError where it is none."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise InputError(f"tokenizer {path} is not a SentencePiece model: {error}") from None
    if not proto.pieces:
        raise InputError(f"tokenizer {path} is not a SentencePiece model: it has no pieces")
    return proto


def has_transformers_form(proto: Any) -> bool:
    """Whether a model is of LLaMA's type, for which `hf_tokenizer` builds the same in transformers' terms.

    That is BPE without normalisation, with byte fallback, with the space mark in front of words, and with no piece that
    has a mark after another character or a newline.
    """
    normaliser, trainer = proto.normalizer_spec, proto.trainer_spec
    return (
        trainer.model_type == _BPE
        and trainer.byte_fallback
        and not trainer.treat_whitespace_as_suffix
        and not normaliser.precompiled_charsmap
        and not normaliser.remove_extra_whitespaces
        and normaliser.escape_whitespaces
        and normaliser.add_dummy_prefix
        and all(piece.type != UNUSED for piece in proto.pieces)
        and not any("\n" in p.piece or MARK in p.piece.lstrip(MARK) for p in proto.pieces)
    )


def pieces_of(proto: Any, *types: int) -> list[str]:
    """The pieces of these types."""
    return [piece.piece for piece in proto.pieces if piece.type in types]


def hf_tokenizer(path: Path) -> "PreTrainedTokenizerBase":
    """The transformers tokenizer for a `tokenizer.model` or a Hugging Face folder.

    For a LLaMA-type SentencePiece model it is built here, because transformers' own conversion (5.23) ranks merges by
    piece number instead of piece score and gives other ids wherever two spaces follow each other. BOS is added and
    EOS is not, as LLaMA does. In a folder, `tokenizer.json` says how text is cut and what is added, whatever class
    `tokenizer_config.json` names. There is a pad token only where the tokenizer has one of its own. `save_pretrained`
    writes `tokenizer.json`, which AutoTokenizer loads with the same ids; `save_vocabulary` puts the `tokenizer.model`
    beside it. Raises InputError where there is no tokenizer.
    """
    model = sentencepiece_file(path)
    return _from_sentencepiece(model) if model is not None else folder_tokenizer(path)


def sentencepiece_file(path: Path) -> Path | None:
    """The SentencePiece model to use for `path`, or None where a `tokenizer.json` describes the tokenizer.

    In a folder with both, the `tokenizer.json` counts if it adds tokens of its own, or if the model is not LLaMA's type
    (`tokenizer.model` may also be a tiktoken file) or has pieces that stand apart from its merges.
    """
    if path.is_file():
        return path
    file, description = path / "tokenizer.model", path / "tokenizer.json"
    if not file.is_file():
        return None
    if not description.is_file():
        return file
    try:
        proto = read_model(file)
    except InputError:
        return None
    added = {token["content"] for token in read_json(description).get("added_tokens", [])}
    pieces = {piece.piece for piece in proto.pieces}
    return file if has_transformers_form(proto) and not pieces_of(proto, USER_DEFINED) and added <= pieces else None


def _from_sentencepiece(path: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    proto = read_model(path)
    if not has_transformers_form(proto):
        raise InputError(
            f"tokenizer {path} is not of LLaMA's type (BPE with byte fallback, no normalisation): "
            "give its Hugging Face folder instead"
        )
    pieces = [piece.piece for piece in proto.pieces]
    special = {piece.piece for piece in proto.pieces if piece.type in (CONTROL, UNKNOWN)}
    bos, eos, unk, pad = (
        pieces[number] if 0 <= number < len(pieces) and pieces[number] in special else None
        for number in (
            proto.trainer_spec.bos_id,
            proto.trainer_spec.eos_id,
            proto.trainer_spec.unk_id,
            proto.trainer_spec.pad_id,
        )
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_backend(proto, unk),
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        pad_token=pad,
        add_bos_token=bos is not None,
        add_eos_token=False,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.vocab_file = str(path)
    return tokenizer


def _backend(proto: Any, unk: str | None) -> Any:
    """The same BPE in `tokenizers`' terms."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    vocab = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    backend = Tokenizer(
        models.BPE(vocab=vocab, merges=_merges(proto, vocab), unk_token=unk, fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(
        [
            AddedToken(piece.piece, normalized=False, special=True)
            for piece in proto.pieces
            if piece.type in (CONTROL, UNKNOWN)
        ]
    )
    return backend


def _merges(proto: Any, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """All pairs that join into a piece, best score first.

    SentencePiece takes the leftmost of equally good pairs, which ranks cannot say. Runs of spaces, whose scores are all
    equal in LLaMA's vocabulary, come out the same when the longer left part goes first: the run then grows from the
    left.
    """
    ranked = [
        (-piece.score, -cut, -len(piece.piece), piece.piece)
        for piece in proto.pieces
        if piece.type == NORMAL
        for cut in range(1, len(piece.piece))
        if piece.piece[:cut] in vocab and piece.piece[cut:] in vocab
    ]
    return [(piece[:-minus_cut], piece[-minus_cut:]) for _, minus_cut, _, piece in sorted(ranked)]
