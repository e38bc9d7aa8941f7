"""What else is measured in the same run: etcd, three members of Debian's package, and pycrdt."""
