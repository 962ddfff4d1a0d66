"""Properties of a text, character by character, that a unit of a network may follow.

Each is true, false or unknown after each character, and of what has been read or of what comes: whether a bracket is
open, whether this sentence will be a question. Nothing here knows of any network. F = properties, T = characters.
"""

from charlstm.insight.function_words import add_grammar
from charlstm.insight.property_matrix import Properties, Property, PropertyBuilder
from charlstm.insight.prose import add_letters, add_lines, add_sentences, add_words
from charlstm.insight.punctuation import add_coming, add_markup, add_names, add_pairs
from charlstm.insight.python_text import add_python, is_python

__all__ = ["Properties", "Property", "find_properties"]


def find_properties(text: str) -> Properties:
    """Describe every character of `text` by properties of any text, and by Python's own where it is Python."""
    found = PropertyBuilder(text)
    for add in (add_letters, add_words, add_names, add_lines, add_sentences):
        add(found)
    for add in (add_python,) if is_python(text) else (add_grammar, add_pairs, add_markup):
        add(found)
    add_coming(found)
    return found.build()
