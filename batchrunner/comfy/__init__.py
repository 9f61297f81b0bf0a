"""The client of one ComfyUI server."""
