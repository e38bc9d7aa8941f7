"""The optional fleet view: a guest of the mesh that watches, keeps history and passes requests on. It never rules."""
