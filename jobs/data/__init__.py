"""Dataset loaders for jobs.

| module | reads |
|---|---|
| `digits` | the UCI optical digits, shipped with Regatta |
| `keras_sets` | MNIST, Fashion-MNIST and CIFAR-10 through `keras.datasets` and its local cache |
| `synthetic` | generated labelled images: deterministic, learnable, offline |
| `npz`, `tables` | NumPy archives; CSV and Parquet |
| `tfrecord`, `folders` | TFRecord files; images in one folder per class |
| `generator` | a Python generator |
| `arrays` | arrays in memory, as a batched `tf.data.Dataset` |

Missing and damaged files raise `errors.DataFileError`, which names the file and the remedy.
"""
