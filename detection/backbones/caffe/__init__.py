"""Weights from files of Caffe."""
