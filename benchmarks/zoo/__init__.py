"""The demo zoo: real generative models of several kinds, rebuilt anywhere from freely licensed parts.

Three kinds of model, one folder of judged queries, one manifest:

    models/*.yaml -> catalogue -> manifest (zoo.yaml)        what the models are
    node/draw.mjs                                            other people's procedural generators
    glyphs -> compose -> samplers                            style x concept samplers
    glyphs -> pictures -> decoders                           PCA and VAE decoders, exported to ONNX
    drawing -> queries (queries.jsonl)                       fresh pictures, sketches and texts
"""
