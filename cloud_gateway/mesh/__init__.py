"""The guest: reads rows and journals of the mesh through one node, and passes requests on to it."""
