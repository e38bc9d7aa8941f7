"""The doors of the gateway: pages of rows, the live feed, requests, metrics, the page itself."""
