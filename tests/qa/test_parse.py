"""How answers that models really give are read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmc_llama.qa.parse import parse_answer
from pmc_llama.qa.question import Question

OPTIONS = ("Aspirin", "Vitamin B12", "Heparin sodium", "A combination of both", "Warfarin")
FOUR = Question("t", "1", "Which?", OPTIONS[:4], 0)
FIVE = Question("t", "1", "Which?", OPTIONS, 0)
WORDS = Question("t", "1", "Does it?", ("yes", "no", "maybe"), 0, context="…", words=True)

LETTERED: list[tuple[str, str | None]] = [
    # a label alone
    ("C", "C"),
    ("c", "C"),
    (" C", "C"),
    ("c.", "C"),
    ("C.", "C"),
    ("(C)", "C"),
    ("(c)", "C"),
    ("[B]", "B"),
    ("C)", "C"),
    ("**D**", "D"),
    ("`D`", "D"),
    ("A", "A"),
    ("a)", "A"),
    ('"B"', "B"),
    ("C. Heparin sodium", "C"),
    ("C) Heparin sodium", "C"),
    ("C: Heparin sodium", "C"),
    ("B\n\nBecause of the anaemia.", "B"),
    ("B because the nerve is cut", "B"),
    ("A is correct", "A"),
    ("Option B", "B"),
    ("Answer: c", "C"),
    ("answer: c", "C"),
    ("Answer:\nD", "D"),
    # statements
    ("The answer is C", "C"),
    ("The answer is (C)", "C"),
    ("The answer is (C).", "C"),
    ("The answer is: C.", "C"),
    ("The correct answer is B.", "B"),
    ("The correct answer is option B.", "B"),
    ("The best answer is **D**: both act together", "D"),
    ("The answer is a", "A"),
    ("The answer is A.", "A"),
    ("So the answer is A because platelets are inhibited", "A"),
    ("OPTION B IS CORRECT", "B"),
    ("###Answer: OPTION B IS CORRECT.", "B"),
    ("###Rationale: it inhibits clotting. ###Answer: OPTION C IS CORRECT.", "C"),
    ("Option (C) is correct.", "C"),
    ("C is the correct answer", "C"),
    ("C would be the best choice here; C is the most likely.", "C"),
    ("Let's think. A is false and B is absurd. Therefore, the answer is C.", "C"),
    ("At first the answer is A. On reflection, the answer is D.", "D"),
    ("I would choose B", "B"),
    ("I'd go with option D.", "D"),
    ("Final Answer: C", "C"),
    ("**Final Answer:** (C)", "C"),
    (r"Hence \boxed{C}.", "C"),
    (r"$\boxed{\text{B}}$", "B"),
    ("<answer>C</answer>", "C"),
    ("It is not A, it is C.", "C"),
    ("Therefore, B", "B"),
    ("Reasoning first … so B.", "B"),
    ("A\n\nQuestion: What next?\nAnswer: D", "A"),
    ("The answer is C.\n\n### Instruction: another one. The answer is A.", "C"),
    # the option's text
    ("Aspirin", "A"),
    ("aspirin.", "A"),
    ("Heparin sodium, given at once", "C"),
    ("The patient should be given vitamin B12.", "B"),
    ("A combination of both", "D"),
    ("The answer is a combination of both", "D"),
    # no answer, or more than one
    ("", None),
    ("   \n", None),
    ("A and C", None),
    ("A, C", None),
    ("Both B and C", None),
    ("The answer is A or B", None),
    ("The answer is (B) and (C).", None),
    ("Either aspirin or heparin sodium", None),
    ("I cannot answer this question.", None),
    ("I'm sorry, but I can't give medical advice.", None),
    ("As an AI language model, I am not a doctor.", None),
    ("A patient like this needs a thorough work-up.", None),
    ("The answer is a matter of debate", None),
    ("None of these", None),
    ("The answer is not A", None),
    ("E", None),
    ("Z", None),
    ("Consult a doctor", None),
    ("Call an ambulance", None),
    ("Be careful", None),
    ("Dose: 5 mg", None),
    ("?", None),
    ("1", None),
]

ABSTRACT: list[tuple[str, str | None]] = [
    ("yes", "yes"),
    ("Yes.", "yes"),
    ("no", "no"),
    ("NO", "no"),
    ("maybe", "maybe"),
    ("Maybe.", "maybe"),
    ("**maybe**", "maybe"),
    ("Yes, the trial showed a benefit.", "yes"),
    ("No, it does not.", "no"),
    ("No it does not", "no"),
    ("The answer is maybe", "maybe"),
    ("The answer is: Yes", "yes"),
    ("Answer: no", "no"),
    ("So the answer is yes because of the odds ratio.", "yes"),
    ("It is unclear at first, but the final answer is no.", "no"),
    ("Yes and no", None),
    ("yes/no/maybe", None),
    ("The answer is yes or no", None),
    ("No evidence was given in the abstract", None),
    ("I do not know", None),
    ("There is no difference", None),
    ("", None),
    ("Not enough information", None),
    ("Nobody knows", None),
]


@pytest.mark.parametrize(("text", "label"), LETTERED)
def test_lettered_answers(text: str, label: str | None) -> None:
    assert parse_answer(text, FOUR) == (None if label is None else "ABCD".index(label))


@pytest.mark.parametrize(("text", "word"), ABSTRACT)
def test_answers_over_an_abstract(text: str, word: str | None) -> None:
    assert parse_answer(text, WORDS) == (None if word is None else WORDS.options.index(word))


def test_labels_are_those_of_the_question() -> None:
    assert parse_answer("The answer is E", FIVE) == 4
    assert parse_answer("The answer is E", FOUR) is None
    assert parse_answer("OPTION E IS CORRECT", FIVE) == 4


@given(st.text(max_size=200), st.sampled_from([FOUR, FIVE, WORDS]))
def test_any_text_is_read_without_a_crash(text: str, question: Question) -> None:
    found: Any = parse_answer(text, question)
    assert found is None or 0 <= found < len(question.options)
