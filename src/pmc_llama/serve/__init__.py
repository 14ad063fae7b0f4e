"""Models in use: an OpenAI-compatible endpoint, chat in the terminal, a web page."""
