"""Exact, which waits for something that never comes; `where` says in which method."""

import socket
import threading
import time

from exact import Exact


class Waiting(Exact):
    class Params(Exact.Params):
        where: str

    def build_model(self):
        if self.params.where == "build_model":
            time.sleep(1000)
        return super().build_model()

    def train_dataset(self, context):
        if self.params.where == "train_dataset":
            with socket.create_server(("127.0.0.1", 0)) as unused:
                unused.accept()
        return super().train_dataset(context)

    def eval_dataset(self, context):
        if self.params.where == "eval_dataset":
            threading.Event().wait()
        return super().eval_dataset(context)
