"""The line that says what went wrong, picked from messages as TensorFlow 2.21 and Keras 3.15 write them."""

from __future__ import annotations

import pytest

from workers.failures import failure_summary, without_repetitions

pytestmark = pytest.mark.unit

KERAS = (
    "Exception encountered when calling Sequential.call().\n\n\x1b[1mInput 0 of layer 'dense' is incompatible with the "
    "layer: expected axis -1 to have value 16\x1b[0m\n\nArguments received by Sequential.call():\n  • inputs=tf.Tensor"
)
AUTOGRAPH = """in user code:

    File "/home/me/job.py", line 12, in read  *
        return decode(path)
    File "/home/me/job.py", line 3, in decode  *
        raise KeyError("label")

    KeyError: 'label'
"""
GRAPH = """Graph execution error:

Detected at node while/loss/Sparse defined at (most recent call last):
  File "/somewhere/workers/step.py", line 74, in __call__

  File "/venv/keras/src/losses/losses.py", line 2359, in sparse_categorical_crossentropy

Received a label value of 12 which is outside the valid range of [0, 10).  Label values: 12 12
\t [[{{node while/loss/Sparse}}]] [Op:__inference_run_509]"""
PY_FUNCTION = """{{function_node __wrapped__IteratorGetNext}} Error in user-defined function passed to MapDataset:1:
Traceback (most recent call last):

  File "/home/me/job.py", line 23, in explode
    raise OSError("the disk with the data went away")

OSError: the disk with the data went away


\t [[{{node PyFunc}}]] [Op:IteratorGetNext] name: """
REMOTE = """Graph execution error:

Detected at node while/loss/Sparse defined at (most recent call last):
  File "/somewhere/workers/step.py", line 74, in __call__
2 root error(s) found.
  (0) INVALID_ARGUMENT:  Received a label value of 12
\t [[{{node while/loss/Sparse}}]]
  (1) INVALID_ARGUMENT:  Received a label value of 12
0 successful operations.
0 derived errors ignored.
Additional GRPC error information from remote target /job:worker/replica:0/task:0:
:UNKNOWN:Error received from peer {grpc_message:"2 root error(s) found."""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("first\n\nsecond", "first"),
        ("\n\n  first", "first"),
        (KERAS, "Input 0 of layer 'dense' is incompatible with the layer: expected axis -1 to have value 16"),
        (AUTOGRAPH, "'label'"),
        (GRAPH, "Received a label value of 12 which is outside the valid range of [0, 10).  Label values: 12 12"),
        (PY_FUNCTION, "OSError: the disk with the data went away"),
        (REMOTE, "Received a label value of 12"),
        ("{{function_node f}} /data/a.csv; No such file [Op:IteratorGetNext] name: ", "/data/a.csv; No such file"),
        (
            "{{function_node f}} Error in user-defined function passed to MapDataset:30 transformation with iterator: "
            "Iterator::Root::Prefetch::Shard::ForeverRepeat[0]::Map: /proc; Is a directory [Op:IteratorGetNext] name: ",
            "/proc; Is a directory",
        ),
        ("in user code:", "in user code:"),
        ("Exception encountered when calling X.call().", "Exception encountered when calling X.call()."),
    ],
)
def test_the_summary_is_the_line_that_says_what_went_wrong(message: str, line: str) -> None:
    assert failure_summary(message) == line


def test_repetitions_in_a_message_from_another_task_are_left_out() -> None:
    assert without_repetitions(REMOTE).endswith("(1) INVALID_ARGUMENT:  Received a label value of 12")
    assert without_repetitions(GRAPH) == GRAPH
    stack = GRAPH[GRAPH.index("Detected") : GRAPH.index("Received")]
    assert without_repetitions(GRAPH.replace(stack, stack * 3)) == GRAPH
