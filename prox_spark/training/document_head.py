"""The verdict on whole documents, fitted last: on further documents of the stream that the network was trained on.

A network tells documents that it has seen from each other with more certainty than others, and a verdict read from it
while it learns relies on that. So the last layer of the verdict is fitted anew when everything else is done.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from prox_spark.training.batches import Batch, half_precision, line_vectors
from prox_spark.training.model import LineNetwork, LineScorer

# Of the weights, for features of mean 0 and deviation 1. Fitted without some kinds of made documents, the verdict found
# this share of those, with the same development pages lost: 85% (3e-4), 87% (1e-3), 86% (2e-3), 84% (5e-3), 81% (2e-2).
_DECAY = 1e-3
_STEPS = 200
# Documents of each verdict; a fit on a handful would take the place of a head that has learned from hundreds.
_FEWEST = 10


def fit_document_head(model: LineScorer, batches: Iterable[Batch], tokens: int) -> int:
    """Fit ``model.network.document`` on the next ``tokens`` tokens of batches; the number of documents that were used.

    None are used, and the head stays as it is, for 0 tokens and where there are too few documents of either verdict.
    """
    features, verdicts = _read(model, batches, tokens) if tokens else ([], [])
    if min(sum(verdicts), len(verdicts) - sum(verdicts)) < _FEWEST:
        return 0
    _fit(model.network, torch.cat(features).float().cpu(), torch.tensor(verdicts, dtype=torch.float32))
    return len(verdicts)


@torch.no_grad()
def _read(model: LineScorer, batches: Iterable[Batch], tokens: int) -> tuple[list[Tensor], list[bool]]:
    """Features [1, FEATURES] and verdicts of the documents that have one."""
    model.eval()
    features, verdicts, read = [], [], 0
    for batch in batches:
        with half_precision(model.device):
            for vectors, example in zip(line_vectors(model, batch), batch.examples, strict=True):
                if example.nothing is not None:
                    shapes = torch.from_numpy(example.shapes).to(model.device)
                    features.append(model.network.lines_and_features(vectors, shapes)[1])
                    verdicts.append(example.nothing)
        read += batch.tokens
        if read >= tokens:
            break
    return features, verdicts


def _fit(network: LineNetwork, features: Tensor, verdicts: Tensor) -> None:
    """Logistic regression with a penalty, its scaling of features folded into the layer."""
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    scaled = (features - mean) / deviation
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = binary_cross_entropy_with_logits(scaled @ weight + bias, verdicts)
        penalised: Tensor = found + _DECAY * weight.square().sum()
        penalised.backward()
        return penalised

    optimizer.step(loss)
    with torch.no_grad():
        unscaled = weight / deviation
        network.document.weight.copy_(unscaled.unsqueeze(0))
        network.document.bias.copy_(bias - unscaled @ mean)
