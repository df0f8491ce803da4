"""The same graphs and the same Redis rows behind today's servers, measured in turn with Winnow.

What runs inside a peer (`job.py` and the `server.py` files) imports nothing else of the project.
"""
