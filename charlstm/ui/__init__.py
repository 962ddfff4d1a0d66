"""The page, made with Gradio."""

from charlstm import hub as hub  # first: Gradio imports the Hub's library, which reads its variables at once
