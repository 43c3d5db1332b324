"""The models of posteriordb in NumPyro, a file a group; importing one imports NumPyro.

Each is a function of the fields of its data set, with sites named as posteriordb names its parameters. Densities equal
those of the Stan programs up to a constant.
"""
