"""The transformer: its layers, Block and Transformer, and the masks of dropout, a function of the seed, the step, the
place and what was read. Written for one model and one batch; who trains it is not known here. Imports config and util.
"""
