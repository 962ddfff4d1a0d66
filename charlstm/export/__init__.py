"""Models that leave: as a web page that needs no server, as ONNX, as plain PyTorch weights."""
