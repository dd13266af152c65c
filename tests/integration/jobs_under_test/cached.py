"""Jobs whose datasets cache in files, as TensorFlow's guide on performance has it."""

from exact import Exact


class OneFile(Exact):
    """Each worker would write the same file."""

    class Params(Exact.Params):
        path: str = "cache"

    def train_dataset(self, context):
        return super().train_dataset(context).cache(self.params.path)

    def eval_dataset(self, context):
        return Exact.train_dataset(self, context).take(4)


class OneFileBelow(OneFile):
    def train_dataset(self, context):
        samples = Exact.train_dataset(self, context).unbatch()
        return samples.cache(self.params.path).batch(context.batch_size).prefetch(2)


class OwnFiles(OneFile):
    """Each worker has a file for its own shard."""

    def train_dataset(self, context):
        shard = context.shard(Exact.train_dataset(self, context).unbatch())
        return shard.cache(f"{self.params.path}-{context.shard_index}").batch(context.batch_size)
