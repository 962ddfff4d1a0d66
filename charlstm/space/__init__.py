"""The app as a Hugging Face Space: deployment and backup of runs."""
