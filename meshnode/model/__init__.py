"""The words of the mesh: ids, commands, views, errors. Pure data, shared by all floors."""
