"""The networks: Ψ, the refiners and the presets that name them. Tensors in, tensors out; no files, no device picked."""
