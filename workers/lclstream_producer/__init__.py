"""Producer: reads, reduces and encodes the events of one shard of a stream."""
