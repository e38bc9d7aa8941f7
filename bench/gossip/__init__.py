"""What gossip costs and how soon it tells: real daemons in two namespaces, the simulator, and the lookup of skills."""
