"""How a prompt can end other than well. None of these leaves the simulator: each becomes an answer or an entry."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class NodeFailure(Exception):  # noqa: N818 - it is an ending of a prompt, no error of the program
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


class InterruptedPromptError(Exception):
    """Somebody posted /interrupt: the prompt ends in execution_interrupted."""


class WedgedError(Exception):
    """A request killed the thread that executes prompts (PROTOCOL.md §1, 9); the text says how."""


class TroubleError(Exception):
    """Something raised where ComfyUI raises: 500, text/plain."""


@contextmanager
def system_failures() -> Iterator[None]:
    """Turn what the system says about a name or a disk into the failure of a node."""
    try:
        yield
    except ValueError:
        raise NodeFailure("ValueError", "Could not determine output format\n") from None
    except OSError as error:
        raise NodeFailure("OSError", f"[Errno {error.errno}] {error.strerror}\n") from None
