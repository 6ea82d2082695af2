"""What scenes are made of: materials, meshes, layout, random draws."""
