"""The C kernel: compiled at first use (`build`), LSTM layers over windows (`lstm`), one token at a time (`decoder`)."""
