"""An honest ComfyUI to try things against: shipped, and the ground all tests stand on."""
