"""How a trace is put down to functions: nesting, the program's tables, parts."""

import jax
import jax.numpy as jnp

from benchmarks import breakdown

PROGRAM = """HloModule jit_chunk

FileNames
1 "agents/iql.py"

FunctionNames
1 "make_chunk.<locals>.chunk"
2 "adam_step"
3 "sample_rows"
4 "adam_step.<locals>.<lambda>"

FileLocations
1 {file_name_id=1 function_name_id=1 line=76 end_line=78 column=38 end_column=5}
2 {file_name_id=1 function_name_id=2 line=9 end_line=9 column=3 end_column=5}
3 {file_name_id=1 function_name_id=3 line=8 end_line=8 column=3 end_column=5}
4 {file_name_id=1 function_name_id=4 line=7 end_line=7 column=3 end_column=5}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=4 parent_frame_id=3}
4 {file_location_id=3 parent_frame_id=2}

%body (x: f32[2]) -> f32[2] {
  %dot.1 = f32[2]{0} dot(%x, %x), metadata={op_name="a/transpose" stack_frame_id=1}
  %sub.2 = f32[2]{0} fusion(%x), metadata={op_name="a/sub" stack_frame_id=3}
  %ynn_fusion = f32[2] fusion(%x), metadata={op_name="a/reduce_sum" stack_frame_id=1}, \
backend_config={"fusion_config":{"kind":"__ynn_fusion"}}
  %ynn_fusion.1 = f32[2] fusion(%x), metadata={op_name="a/dot" stack_frame_id=1}, \
backend_config={"fusion_config":{"kind":"__ynn_fusion"}}
  %while.4 = u32[2] while(%x), metadata={op_name="jit(_uniform)/while" stack_frame_id=4}
  ROOT %gather.3 = f32[2]{0} gather(%x), metadata={op_name="a" stack_frame_id=4}
}
"""


def test_operations_belong_to_what_asked_for_them():
    parts = {
        operation.name: breakdown.part_of(operation)
        for operation in breakdown.operations(PROGRAM)
    }
    assert parts == {
        "dot.1": breakdown.PRODUCTS,
        "sub.2": "Adam",  # through its caller: a lambda asked for it
        "ynn_fusion": breakdown.OTHERS,
        "ynn_fusion.1": breakdown.PRODUCTS,
        "while.4": "random numbers",
        "gather.3": "batch: gather, damage, standardise",
    }


def test_an_operation_counts_without_those_inside():
    events = [
        (0.0, 10.0, "loop"),
        *((1.0, 4.0, "body"), (2.0, 3.0, "add"), (5.0, 7.0, "body")),
        (10.0, 11.0, "after"),
    ]
    assert breakdown.without_inner(events) == [
        ("loop", 5.0),
        ("body", 2.0),
        ("add", 1.0),
        ("body", 2.0),
        ("after", 1.0),
    ]


def test_operations_are_found_in_a_trace(monkeypatch):
    monkeypatch.setattr(breakdown, "NUM_UPDATES", 4)

    def program(x):
        def body(x, key):
            return jnp.tanh(x @ x) + jax.random.uniform(key, x.shape), None

        return jax.lax.scan(body, x, jax.random.split(jax.random.key(0), 4))[0]

    x = jnp.zeros((64, 64))
    compiled = jax.jit(program).lower(x).compile()
    found = breakdown.operations(compiled.as_text())
    names = {operation.name for operation in found}
    seconds = breakdown.traced_seconds(lambda: compiled(x), names)
    parts = {breakdown.part_of(x) for x in found if seconds.get(x.name, 0.0) > 0}
    assert {breakdown.PRODUCTS, "random numbers"} <= parts
