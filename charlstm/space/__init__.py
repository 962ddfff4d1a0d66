"""The app as a Hugging Face Space: deployed, its runs backed up, and what a ZeroGPU Space demands."""
