"""Run overnight batches of ComfyUI prompts: every video home, none twice, none lost, none the wrong one."""
