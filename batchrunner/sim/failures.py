"""How a prompt can end other than well. None of these leaves the simulator: each becomes an answer or an entry."""

from __future__ import annotations


class NodeFailure(Exception):  # noqa: N818 - ComfyUI's own word for it is taken: this one is about a node
    """A node raised: the prompt ends in execution_error with this type and message."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{kind}: {message}")

    @classmethod
    def out_of_memory(cls) -> NodeFailure:
        """Return what a GPU says that has no room: the server goes on (PROTOCOL.md §5)."""
        said = (
            "CUDA out of memory. Tried to allocate 12.50 GiB (simulated)\n\nTIPS: a smaller batch_size or size may fit."
        )
        return cls("torch.OutOfMemoryError", said)


class InterruptedPrompt(Exception):  # noqa: N818 - an ending, not an error
    """Somebody posted /interrupt: the prompt ends in execution_interrupted."""


class WedgedError(Exception):
    """A request killed the thread that executes prompts (PROTOCOL.md §1, 9); the text says how."""


class TroubleError(Exception):
    """A handler raised where ComfyUI's raises: 500, text/plain."""
