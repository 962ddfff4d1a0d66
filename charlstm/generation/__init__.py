"""Text generation: sampling a token, inference engines, streams of text, matches with the training text."""
