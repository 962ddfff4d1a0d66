"""The Hugging Face Hub: models are pushed and pulled, the app is deployed, runs are kept. Nothing else speaks to it."""
