"""PCA and VAE decoders: fitted on families of drawings, exported to ONNX."""
