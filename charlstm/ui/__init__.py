"""Gradio web page: write with models, train them, and exchange them with the Hub."""

from charlstm import (
    hub as hub,
)  # first: Gradio imports the Hub's library, which reads its environment variables on import
