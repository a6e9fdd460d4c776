"""States of the layers: logit lens, feed-forward units, embeddings and the residual stream."""
