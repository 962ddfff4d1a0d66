"""A model for PyTorch alone: its `state_dict` as safetensors, and a program of ten lines that writes with it.

`model.safetensors` is such a file already: its tensors carry the names that `nn.Embedding`, `nn.LSTM` and `nn.Linear`
give them in a module with the members `embedding`, `lstm` and `head`; its header holds the vocabulary as a JSON list.
"""

import json
from pathlib import Path

from charlstm.errors import ExportError
from charlstm.files import atomic_write_text
from charlstm.language_model import LanguageModel
from charlstm.model_paths import MODEL_FILE

PROGRAM_FILE = "write.py"
_UNKNOWN_PROMPT_CHARS = 8  # of the vocabulary, where nothing is known of the text


def write_plain(language_model: LanguageModel, folder: Path) -> Path:
    """Write the weights, and the program to be run beside them; return the program's path.

    Raises `ExportError` where they can't be written.
    """
    program = folder / PROGRAM_FILE
    try:
        language_model.save(folder / MODEL_FILE)
        atomic_write_text(program, pytorch_program(language_model, json.dumps(MODEL_FILE)) + "\n")
    except OSError as error:
        raise ExportError(f"{folder} can't be written ({error.strerror or error}); choose another folder.") from None
    return program


def pytorch_program(language_model: LanguageModel, file: str, *more_modules: str) -> str:
    """Return ten lines of Python that load the weights into PyTorch's own modules and print a text.

    `file` is the expression of the file's name, which may use `more_modules`.
    """
    model, is_bytes = language_model.model, language_model.vocabulary.level == "bytes"
    size, hidden, layers = model.vocab_size, model.config.hidden_size, model.config.num_layers
    dim = model.config.embedding_dim
    modules = ", ".join(sorted(("json", "safetensors", "torch", *more_modules)))
    prompt = ascii(choose_prompt(language_model))
    embedding = f"torch.nn.Embedding({size}, {dim})" if dim else f"torch.eye({size})"
    members = '"embedding": embedding, "lstm": lstm, "head": head' if dim else '"lstm": lstm, "head": head'
    tokens = f"list({prompt}.encode())" if is_bytes else f"[vocabulary.index(char) for char in {prompt}]"
    read = "tokens if state is None else tokens[-1:]"
    inputs = f"embedding(torch.tensor({read}))" if dim else f"embedding[{read}]"
    decoded = 'bytes(tokens).decode(errors="replace")' if is_bytes else '"".join(vocabulary[token] for token in tokens)'
    weights = "{name: file.get_tensor(name) for name in file.keys()}"
    return f"""\
import {modules}
with safetensors.safe_open({file}, "pt") as file:
    vocabulary, weights = json.loads(file.metadata()["vocabulary"]), {weights}
embedding, lstm, head = {embedding}, torch.nn.LSTM({dim or size}, {hidden}, {layers}), torch.nn.Linear({hidden}, {size})
torch.nn.ModuleDict({{{members}}}).requires_grad_(False).load_state_dict(weights)
tokens, state = {tokens}, None
for _ in range(300):
    hidden, state = lstm({inputs}, state)
    tokens.append(int((head(hidden[-1]) / 0.8).softmax(-1).multinomial(1)))
print({decoded})"""


def choose_prompt(language_model: LanguageModel) -> str:
    """Return a beginning of characters that the model knows: a line's of its text, else any of its vocabulary."""
    known, origin = language_model.vocabulary.characters, language_model.provenance
    beginnings = origin.beginnings if origin else ()
    text = next((each for each in beginnings if each and each.isprintable() and set(each) <= set(known)), None)
    unknown = "text" if language_model.vocabulary.level == "bytes" else "".join(known[:_UNKNOWN_PROMPT_CHARS])
    return text or unknown
