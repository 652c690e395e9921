"""Pictures of a pair: colours of features, planes of volumes, and the figure that shows them."""
