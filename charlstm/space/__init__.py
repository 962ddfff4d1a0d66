"""The app as a Hugging Face Space: deployment, backup of runs, and what a ZeroGPU Space demands."""
