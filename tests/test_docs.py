"""What the pages show works: the example head is made, trained a little and asked for scores."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

DOCS = Path(__file__).parents[1] / "docs"


def test_the_head_of_the_page_on_extending():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "extend.md").read_text(), re.S)
    assert len(code.splitlines()) < 40
    names: dict = {"__name__": "my_heads"}
    exec(compile(code, "extend.md", "exec"), names)
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.standard_normal((64, 8)), jnp.float32)
    batch = {"score": 50 + 10 * features[:, 0]}
    head = names["make_one_layer"](8, None, {"score": np.asarray(batch["score"])}, nnx.Rngs(0))
    graph, params, rest = nnx.split(head, nnx.Param, ...)

    @jax.jit
    def step(params):
        def mean_loss(params):
            module = nnx.merge(graph, params, rest)
            return module.loss(module(features), batch, jax.random.key(0), 0.0).mean()

        loss, gradient = jax.value_and_grad(mean_loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), loss

    losses = []
    for _ in range(50):
        params, loss = step(params)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    trained = nnx.merge(graph, params, rest)
    predicted = trained.distribution(trained(features), batch)
    assert predicted.mean.shape == predicted.sigma.shape == (64,)
    assert abs(float(predicted.mean.mean()) - 50) < 5
