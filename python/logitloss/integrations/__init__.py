"""The losses of `logitloss` inside other libraries, one module for each.

Importing `logitloss` imports none of them. Each module needs the library of its name and says
which extra installs it where that is missing.
"""
