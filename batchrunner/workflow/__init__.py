"""Workflows in ComfyUI's API format: choose a node's inputs, patch them, check them; ltx2 is built in."""

from batchrunner.workflow.graph import Graph, Node, WorkflowError, read_graph
from batchrunner.workflow.init import first_manifest
from batchrunner.workflow.ltx2 import ltx2
from batchrunner.workflow.params import Template
from batchrunner.workflow.preflight import check_against

__all__ = [
    "Graph",
    "Node",
    "Template",
    "WorkflowError",
    "check_against",
    "first_manifest",
    "ltx2",
    "read_graph",
]
