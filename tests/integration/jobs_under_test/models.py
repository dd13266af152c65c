"""Models as Keras' guides and examples write them, each small, none of them knowing of Regatta."""

from jobs.api import Job

ROWS, VOCABULARY, WORDS = 192, 50, 12


class Models(Job):
    class Params(Job.Params):
        model: str

    @property
    def class_weight(self):
        return {0: 0.5, 1: 2.0, 2: 1.0} if self.params.model == "class_weight" else None

    def build_model(self):
        return MODELS[self.params.model][0]()

    def train_dataset(self, context):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(MODELS[self.params.model][1]()).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def random():
    import numpy as np

    return np.random.default_rng(5)


def table():
    x = random().normal(size=(ROWS, 10)).astype("float32")
    return x, (x[:, :3].argmax(axis=1)).astype("int32")


def regression():
    x, _ = table()
    return x, x[:, :1] * 2 + x[:, 1:2] ** 2


def images():
    x = random().uniform(size=(ROWS, 12, 12, 1)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) * 100 % 3).astype("int32")


def text():
    x = random().integers(1, VOCABULARY, size=(ROWS, WORDS)).astype("int32")
    x[::3, WORDS // 2 :] = 0  # padding
    return x, (x.sum(axis=1) % 2).astype("float32")[:, None]


def series():
    x = random().normal(size=(ROWS, WORDS, 2)).astype("float32").cumsum(axis=1)
    return x, x[:, -1, :1] - x[:, -2, :1]


def two_in_two_out():
    x, y = table()
    inputs = {"title": text()[0], "numbers": x}
    return inputs, {"priority": x[:, :1], "department": y}


def weighted():
    x, y = table()
    return x, y, random().uniform(0.2, 3, size=ROWS).astype("float32")


def pairs():
    x, _ = images()
    return x, x


def sequential_cnn():
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.RandomTranslation(0.1, 0.1, seed=1),
            layers.Conv2D(6, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def functional_residual():
    import keras
    from keras import layers

    inputs = keras.Input((10,))
    x = layers.Dense(16, activation="relu", kernel_regularizer="l2")(inputs)
    x = layers.add([x, layers.Dropout(0.2)(layers.Dense(16, activation="relu")(x))])
    outputs = layers.Dense(3)(layers.BatchNormalization()(x))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 50), clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


def subclassed_with_custom_layer():
    import keras
    from keras import layers, ops

    class Linear(layers.Layer):
        def __init__(self, units):
            super().__init__()
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="random_normal")
            self.b = self.add_weight(shape=(self.units,), initializer="zeros")

        def call(self, inputs):
            return ops.matmul(inputs, self.w) + self.b

    class MLPBlock(layers.Layer):
        def __init__(self):
            super().__init__()
            self.linear_1, self.linear_2 = Linear(16), Linear(1)

        def call(self, inputs):
            x = ops.relu(self.linear_1(inputs))
            self.add_loss(1e-2 * ops.mean(ops.square(x)))
            return self.linear_2(x)

    class MyModel(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = MLPBlock()

        def call(self, inputs, training=False):
            return self.block(inputs)

    model = MyModel()
    model.compile(optimizer=keras.optimizers.RMSprop(0.01), loss="mse")
    return model


def custom_loss_and_metric():
    import keras
    from keras import ops

    class Huberish(keras.losses.Loss):
        def __init__(self, factor=0.1):
            super().__init__()
            self.factor = factor

        def call(self, y_true, y_pred):
            return ops.mean(ops.square(y_true - y_pred), -1) + self.factor * ops.mean(ops.abs(y_true - y_pred), -1)

    class Worst(keras.metrics.Metric):
        def __init__(self, name="worst"):
            super().__init__(name=name)
            self.value = self.add_variable(shape=(), initializer="zeros", name="value")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.value.assign(ops.maximum(self.value, ops.max(ops.abs(y_true - y_pred))))

        def result(self):
            return self.value

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), Huberish(), metrics=[Worst(), "mae"])
    return model


def embedding_and_lstm():
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((WORDS,), dtype="int32"),
            layers.Embedding(VOCABULARY, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.LSTM(4, dropout=0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])
    return model


def transformer():
    import keras
    from keras import layers, ops

    class TransformerBlock(layers.Layer):
        def __init__(self):
            super().__init__()
            self.att = layers.MultiHeadAttention(num_heads=2, key_dim=8)
            self.ffn = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(8)])
            self.layernorm1, self.layernorm2 = layers.LayerNormalization(), layers.LayerNormalization()
            self.dropout1, self.dropout2 = layers.Dropout(0.1), layers.Dropout(0.1)

        def call(self, inputs):
            out1 = self.layernorm1(inputs + self.dropout1(self.att(inputs, inputs)))
            return self.layernorm2(out1 + self.dropout2(self.ffn(out1)))

    class TokenAndPositionEmbedding(layers.Layer):
        def __init__(self):
            super().__init__()
            self.token_emb = layers.Embedding(VOCABULARY, 8)
            self.pos_emb = layers.Embedding(WORDS, 8)

        def call(self, x):
            return self.token_emb(x) + self.pos_emb(ops.arange(0, ops.shape(x)[-1], 1))

    inputs = keras.Input((WORDS,))
    x = TransformerBlock()(TokenAndPositionEmbedding()(inputs))
    outputs = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def gru_forecast():
    import keras

    model = keras.Sequential([keras.Input((WORDS, 2)), keras.layers.GRU(8), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01, weight_decay=0.001), "mse", metrics=["mae"])
    return model


def guide_train_step():
    import keras
    import tensorflow as tf

    class CustomModel(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            trainable_vars = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, trainable_vars), trainable_vars)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    inputs = keras.Input((10,))
    model = CustomModel(inputs, keras.layers.Dense(1)(keras.layers.Dense(8, "relu")(inputs)))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    return model


def variational_autoencoder():
    import keras
    import tensorflow as tf
    from keras import layers, ops

    class Sampling(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator(1337)

        def call(self, inputs):
            z_mean, z_log_var = inputs
            epsilon = keras.random.normal(shape=ops.shape(z_mean), seed=self.seed_generator)
            return z_mean + ops.exp(0.5 * z_log_var) * epsilon

    class VAE(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat, self.hidden = layers.Flatten(), layers.Dense(16, activation="relu")
            self.z_mean, self.z_log_var, self.sampling = layers.Dense(2), layers.Dense(2), Sampling()
            self.decoder = keras.Sequential([layers.Dense(144, activation="sigmoid"), layers.Reshape((12, 12, 1))])
            self.total_loss_tracker = keras.metrics.Mean(name="loss")
            self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

        @property
        def metrics(self):
            return [self.total_loss_tracker, self.kl_loss_tracker]

        def encode(self, x):
            h = self.hidden(self.flat(x))
            return self.z_mean(h), self.z_log_var(h)

        def call(self, x):
            return self.decoder(self.sampling(self.encode(x)))

        def train_step(self, data):
            x, _ = data
            with tf.GradientTape() as tape:
                z_mean, z_log_var = self.encode(x)
                reconstruction = self.decoder(self.sampling((z_mean, z_log_var)))
                reconstruction_loss = ops.mean(
                    ops.sum(keras.losses.binary_crossentropy(x, reconstruction), axis=(1, 2))
                )
                kl_loss = -0.5 * (1 + z_log_var - ops.square(z_mean) - ops.exp(z_log_var))
                kl_loss = ops.mean(ops.sum(kl_loss, axis=1))
                total_loss = reconstruction_loss + kl_loss
            grads = tape.gradient(total_loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(grads, self.trainable_weights, strict=True))
            self.total_loss_tracker.update_state(total_loss)
            self.kl_loss_tracker.update_state(kl_loss)
            return {"loss": self.total_loss_tracker.result(), "kl_loss": self.kl_loss_tracker.result()}

    model = VAE()
    model.compile(optimizer=keras.optimizers.Adam(), loss="mse")
    return model


def gan():
    """Two optimizers, neither of them the compiled one."""
    import keras
    import tensorflow as tf
    from keras import layers

    class GAN(keras.Model):
        def __init__(self, discriminator, generator, latent_dim):
            super().__init__()
            self.discriminator, self.generator, self.latent_dim = discriminator, generator, latent_dim
            self.d_loss_tracker = keras.metrics.Mean(name="d_loss")
            self.g_loss_tracker = keras.metrics.Mean(name="g_loss")
            self.seed_generator = keras.random.SeedGenerator(1337)

        @property
        def metrics(self):
            return [self.d_loss_tracker, self.g_loss_tracker]

        def compile(self, d_optimizer, g_optimizer, loss_fn):
            super().compile()
            self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

        def call(self, images):
            return self.discriminator(images)

        def train_step(self, data):
            real, _ = data
            count = tf.shape(real)[0]
            noise = keras.random.normal((count, self.latent_dim), seed=self.seed_generator)
            combined = tf.concat([self.generator(noise), real], axis=0)
            labels = tf.concat([tf.ones((count, 1)), tf.zeros((count, 1))], axis=0)
            with tf.GradientTape() as tape:
                d_loss = self.loss_fn(labels, self.discriminator(combined))
            grads = tape.gradient(d_loss, self.discriminator.trainable_weights)
            self.d_optimizer.apply_gradients(zip(grads, self.discriminator.trainable_weights, strict=True))
            noise = keras.random.normal((count, self.latent_dim), seed=self.seed_generator)
            with tf.GradientTape() as tape:
                g_loss = self.loss_fn(tf.zeros((count, 1)), self.discriminator(self.generator(noise)))
            grads = tape.gradient(g_loss, self.generator.trainable_weights)
            self.g_optimizer.apply_gradients(zip(grads, self.generator.trainable_weights, strict=True))
            self.d_loss_tracker.update_state(d_loss)
            self.g_loss_tracker.update_state(g_loss)
            return {"loss": d_loss, "d_loss": self.d_loss_tracker.result(), "g_loss": self.g_loss_tracker.result()}

        def test_step(self, data):
            real, _ = data
            self.d_loss_tracker.update_state(self.loss_fn(tf.zeros((tf.shape(real)[0], 1)), self(real)))
            return {"loss": self.d_loss_tracker.result()}

    discriminator = keras.Sequential([keras.Input((10,)), layers.Dense(8, "relu"), layers.Dense(1)])
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(8, "relu"), layers.Dense(10)])
    model = GAN(discriminator, generator, 3)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.005), loss)
    return model


def several_inputs_and_outputs():
    import keras
    from keras import layers

    title_input = keras.Input((None,), name="title", dtype="int32")
    numbers_input = keras.Input((10,), name="numbers")
    title = layers.LSTM(4)(layers.Embedding(VOCABULARY, 6)(title_input))
    x = layers.concatenate([title, numbers_input])
    model = keras.Model(
        inputs={"title": title_input, "numbers": numbers_input},
        outputs={
            "priority": layers.Dense(1, name="priority")(x),
            "department": layers.Dense(3, name="department", activation="softmax")(x),
        },
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(1e-3),
        loss={"priority": "mse", "department": "sparse_categorical_crossentropy"},
        loss_weights={"priority": 1.0, "department": 0.2},
        metrics={"department": ["accuracy"]},
    )
    return model


def classifier():
    import keras

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


MODELS = {
    "sequential_cnn": (sequential_cnn, images),
    "functional_residual": (functional_residual, table),
    "subclassed_with_custom_layer": (subclassed_with_custom_layer, regression),
    "custom_loss_and_metric": (custom_loss_and_metric, regression),
    "embedding_and_lstm": (embedding_and_lstm, text),
    "transformer": (transformer, text),
    "gru_forecast": (gru_forecast, series),
    "guide_train_step": (guide_train_step, regression),
    "variational_autoencoder": (variational_autoencoder, pairs),
    "gan": (gan, table),
    "several_inputs_and_outputs": (several_inputs_and_outputs, two_in_two_out),
    "sample_weight": (classifier, weighted),
    "class_weight": (classifier, table),
}
