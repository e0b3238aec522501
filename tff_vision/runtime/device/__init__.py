"""The execution of TFF computations in this process, on the devices that TensorFlow sees."""
