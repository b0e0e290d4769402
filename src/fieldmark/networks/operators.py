"""Operators: how ONNX calls what a layer is made of."""

# The operators that follow a layer element by element and make its activation, in words.
ACTIVATIONS = {
    "Relu": "ReLU",
    "Clip": "ReLU6",
    "LeakyRelu": "leaky ReLU",
    "PRelu": "PReLU",
    "Elu": "ELU",
    "Gelu": "GELU",
    "HardSwish": "hard swish",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
