"""What a server makes of a workflow's values does not hide whose render it is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from hypothesis import given, settings, strategies as st

from batchrunner.core.job import render_digest
from batchrunner.sim.nodes import Models, catalogue
from batchrunner.sim.validate import Validation
from batchrunner.workflow.ltx2 import ltx2

if TYPE_CHECKING:
    from batchrunner.core.job import Json

VALUES = st.fixed_dictionaries(
    {"prompt": st.text(max_size=80) | st.integers().map(str)},
    optional={
        "negative": st.text(max_size=20),
        "seed": st.integers(0, 2**64 - 1),
        "width": st.integers(64, 16_384),
        "length": st.integers(1, 1_000),
        "fps": st.integers(1, 120),
        "steps": st.integers(1, 10_000),
        "cfg": st.floats(0.0, 100.0) | st.integers(0, 100),
        "denoise": st.floats(0.0, 1.0),
    },
)


def _sent(data: st.DataObject, value: Json) -> Json:
    """Return a value in one of the forms in which somebody may send it."""
    forms: list[Json] = [value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        forms.append(str(value))
        if float(value) == value and abs(value) < 2**53:
            forms += [float(value), str(float(value))] if not float(value).is_integer() else [float(value), int(value)]
    return data.draw(st.sampled_from(forms))


@settings(deadline=None)
@given(VALUES, st.data())
def test_coercion_does_not_change_what_a_workflow_renders(
    values: dict[str, str | int | float], data: st.DataObject
) -> None:
    """The built-in workflow has one digest as we build it, as anybody may send it, and as the server then keeps it."""
    workflow = copy.deepcopy(ltx2().fill(values, "night-0123456789ab-a1"))
    own = render_digest(workflow)
    for node in workflow.values():
        assert isinstance(node, dict)
        inputs = node["inputs"]
        assert isinstance(inputs, dict)
        inputs |= {key: _sent(data, value) for key, value in inputs.items()}
    assert render_digest(workflow) == own
    posted = copy.deepcopy(workflow)
    checked = Validation(catalogue(Models()), workflow).check(None)
    assert checked.outputs
    assert render_digest(workflow) == own
    assert posted.keys() == workflow.keys()
