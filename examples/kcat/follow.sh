#!/bin/sh
# Prints time, partition, offset, key and CloudEvents headers of each status change; with a kcat that was built with Avro
# (Debian's is not), its value too.
set -eu
: "${KAFKA_BOOTSTRAP_SERVERS:=127.0.0.1:14000}"
: "${SCHEMA_REGISTRY_URL:=http://127.0.0.1:14001/apis/ccompat/v7}"
topic=${TOPIC_PREFIX-openbsp.}status-changes

set -- -C -q -b "$KAFKA_BOOTSTRAP_SERVERS" -t "$topic" -o beginning
if [ -n "${UNTIL_END-}" ]; then set -- "$@" -e; fi
if kcat -V | grep -q Avro; then
    exec kcat "$@" -s value=avro -r "$SCHEMA_REGISTRY_URL" -f '%T %p %o %k %h %s\n'
fi
exec kcat "$@" -f '%T %p %o %k %h\n'
