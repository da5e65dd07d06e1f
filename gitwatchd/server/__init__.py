"""Sockets, sessions and methods: requests in, replies out."""
