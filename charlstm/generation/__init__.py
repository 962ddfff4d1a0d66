"""Writing text with a model: choosing a character, inference engines, streams of text, copies of training text."""
