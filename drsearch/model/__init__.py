"""The network and its training: labelled images in, a fitted Keras model and its curve out."""
