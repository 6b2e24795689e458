"""Producer: reads, reduces and encodes the events of one shard of a stream.

The road of an event: `sources` read it, `fields` complete it, `steps` reduce it, `pipeline` puts it
into a batch, `encoders` write the batch into a message, `sinks` hand the message on. Sources, steps
and encoders are plug-ins; what they have to be is in `interfaces`.
"""
