"""``docs/reference`` out of the product itself: the verbs' parsers, the schemas of the kinds, both OpenAPI documents.

``python -m tools.reference`` writes the pages; ``tests/house/test_docs.py`` fails when they are not what it writes.
"""
