"""How client and daemon speak: frames, addresses. Imports the standard library and msgpack only."""
