"""Entry point of the app, on a laptop (`python app.py`) and on a Space."""
