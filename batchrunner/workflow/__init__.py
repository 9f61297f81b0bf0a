"""ComfyUI workflows in API format: select an input, patch it, check it."""
