"""Dataset loaders: the data a job trains on, from wherever it lies.

| module | reads |
|---|---|
| `digits` | the UCI optical digits, shipped |
| `keras_sets` | MNIST, Fashion-MNIST and CIFAR-10 through `keras.datasets` and its local cache |
| `synthetic` | made-up labelled images: deterministic, learnable, offline |
| `npz`, `tables` | NumPy archives; CSV and Parquet |
| `tfrecord`, `folders` | TFRecord files; images in one folder per class |
| `generator` | a Python generator |
| `arrays` | arrays in memory to batches of a `tf.data.Dataset` |

Whatever is missing or broken raises `errors.DataFileError`, which names the file and what to do.
"""
