#!/bin/sh
# targets:
exec vmagent --remoteWrite.url=http://a.example:8428/api/v1/write --remoteWrite.url=http://b.example:8428/api/v1/write \
  --remoteWrite.bearerToken=first --remoteWrite.bearerToken=second --remoteWrite.queues=2 \
  --remoteWrite.label=site=edge,rack=7 --remoteWrite.urlRelabelConfig= --remoteWrite.urlRelabelConfig=drop.inc \
  --remoteWrite.headers='X-Scope-OrgID:one^^X-Other: two' --remoteWrite.flushInterval=1s
