r"""Which option a generated answer names, if it names exactly one.

Read in this order, the first that applies decides: the last statement of an answer ("the answer is C", "option B is
correct", "\boxed{A}"), a label that the text begins with ("C.", "(b)", "Yes,"), a text that is an option's text, the
only option whose text is mentioned. Two labels at once, a refusal or silence are no answer: never a guess, and never a
reason to leave the question out.
"""

import re
from collections.abc import Sequence

from pmc_llama.qa.question import Question

_NEXT_QUESTION = re.compile(r"\n\s*(?:#+\s*Instruction|#*\s*(?:Question|Q|Abstract)\s*\d*\s*:)", re.IGNORECASE)
_MARKUP = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)|\\(?:mathbf|textbf|text|mathrm)\b|<[^<>]{1,20}>")
_BOXED = re.compile(r"\\boxed\s*\{+\s*([^{}]*?)\s*\}+")
_FILLER = r"(?:(?:clearly|therefore|likely|probably|most likely|definitely|indeed|thus|simply)\s*,?\s*)?"
_GOOD = r"(?:correct|right|best|true|(?:most|more)\s+(?:likely|appropriate|accurate|suitable))"
_BE = r"(?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|seems\s+to\s+be|appears\s+to\s+be)"


def parse_answer(text: str, question: Question) -> int | None:
    """Index of the option that `text` names, or None if it names none or more than one."""
    text = _NEXT_QUESTION.split(_plain(text))[0].strip()
    label = _label(question)
    stated = [found for pattern in _statements(label) for found in re.finditer(pattern, text, re.IGNORECASE)]
    stated = [found for found in stated if _is_label(found, text, question)]
    if stated:
        return _index(max(stated, key=lambda found: found.start("label")), text, question)
    leading = re.match(rf"[(\[{{\"'\s]*(?:option|choice|answer)?[\s:(\[]*(?P<label>{label})", text, re.IGNORECASE)
    if leading and _is_label(leading, text, question) and _stands_alone(leading, text, question):
        return _index(leading, text, question)
    return _by_text(text, question)


def _plain(text: str) -> str:
    """Text without markup; a box becomes a statement."""
    return _BOXED.sub(r"the answer is (\1).", _MARKUP.sub("", text)).strip()


def _label(question: Question) -> str:
    """A pattern of one label that is not part of a longer word."""
    return f"(?:{'|'.join(question.labels)})(?![\\w'’])"


def _statements(label: str) -> list[str]:
    """Patterns of sentences that give an answer; `label` is the group of that name."""
    item = rf"[(\[{{\"'“]*\s*(?:the\s+)?(?:option|choice|letter|answer)?[\s:(\[\"'“]*(?P<label>{label})"
    return [
        rf"\b(?:answer|option|choice|response|conclusion|decision)(?:\s+(?:to\s+\w+\s+\w+|here|choice|option))?\s*{_BE}"
        rf"\s*:?\s*{_FILLER}{item}",
        rf"\b(?:answer|choice|conclusion|decision)\s*[:=→-]+>?\s*{_FILLER}{item}",
        rf"\b(?:option|choice|answer|statement)?\s*[(\[\"'“]*(?P<label>{label})[)\]\"'”]*\s*[:.]?\s*{_BE}\s+{_FILLER}"
        rf"(?:the\s+)?(?:single\s+)?(?:{_GOOD}\b|answer\b)",
        rf"\b(?:choose|chose|pick|select|selected|go\s+with|going\s+with|vote\s+for|opt\s+for|answer\s+with)\s+{item}",
        rf"\b(?:it['’]s|it\s+{_BE})\s+{_FILLER}{item}",
        rf"\b(?:therefore|thus|hence|so)\s*[,:]?\s+{item}\s*[)\].]*\s*$",
    ]


def _is_label(found: re.Match[str], text: str, question: Question) -> bool:
    """Whether a match is meant as a label: a small letter, or an article, is one only where nothing else can follow."""
    label, rest = found["label"], text[found.end("label") :]
    if question.words:
        return True
    if label.isupper() and label != "A":
        return True
    closed = re.match(r"\s*(?:$|[.,;:)\]}\"'”/&+]|\n)", rest) is not None
    return closed or (label == "A" and re.match(rf"\s+(?:{_BE}|and|or|because|since|as|[-–—(])", rest) is not None)


def _stands_alone(leading: re.Match[str], text: str, question: Question) -> bool:
    """Whether a label at the text's beginning is the answer, not the first word of a sentence."""
    rest = text[leading.end("label") :]
    if re.match(rf"\s+{_BE}\s+(?:not|in?correct(?<!correct)|wrong|false)\b", rest, re.IGNORECASE):
        return False
    if not question.words:
        return True
    follows = r"\s*(?:$|[.,;:!)\]\"'”\n–—(-]|(?:it|they|this|that|these|those|the|there|because|since|we|as|based)\b)"
    return re.match(follows, rest, re.IGNORECASE) is not None


def _index(found: re.Match[str], text: str, question: Question) -> int | None:
    """The option of a match, or None if another label is joined to it, or the match is taken back."""
    label = found["label"].upper() if not question.words else found["label"].lower()
    rest = text[found.end("label") :]
    link = r"[)\]\"'”]*\s*(?:,|/|&|\+|\band\b|\bor\b|\bas well as\b)\s*(?:/\s*or\s+)?(?:option\s+)?[(\[\"'“]*"
    joined = re.match(rf"{link}(?P<label>{_label(question)})", rest, re.IGNORECASE)
    if joined and _is_label(joined, rest, question) and joined["label"].upper() != label.upper():
        return None
    return [one.upper() for one in question.labels].index(label.upper())


def _by_text(text: str, question: Question) -> int | None:
    """The only option that the text is, or mentions."""
    said = _folded(text)
    options = [_folded(option) for option in question.options]
    if said in options and options.count(said) == 1:
        return options.index(said)
    if not question.words:
        return _only(_mentioned(said, options)) if said else None
    return None


def _mentioned(said: str, options: Sequence[str]) -> set[int]:
    """Options whose whole text stands in `said`, but not inside a longer option that stands there too."""
    rest, found = f" {said} ", set()
    for i in sorted(range(len(options)), key=lambda i: -len(options[i])):
        if options[i] and f" {options[i]} " in rest:
            found.add(i)
            rest = rest.replace(f" {options[i]} ", " \0 ")
    return found


def _only(found: set[int]) -> int | None:
    return found.pop() if len(found) == 1 else None


def _folded(text: str) -> str:
    """Text as lower-case words."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
