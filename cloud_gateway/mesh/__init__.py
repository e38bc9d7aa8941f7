"""The guest: pulls from the mesh through the local API of one node, and passes requests on."""
