"""The qa tests' tokenizer, for what is made into training examples here."""

from qa.conftest import tokenizer  # noqa: F401 - a fixture
