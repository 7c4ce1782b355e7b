"""What Python users call: audit a model, make a bank and attack it, run the main job, train a fleet.

Everything here is a few lines over `jleaks.auditing`, `jleaks.experiments` and `jleaks.training`, with
tables as data frames; `import jleaks` gives all of it.
"""
