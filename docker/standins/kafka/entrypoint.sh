#!/bin/bash
# What the compose file uses of the real image: KAFKA_… variables are settings, CLUSTER_ID formats the storage once.
set -eu
config=/opt/kafka/config/server.properties
: >$config
while IFS='=' read -r name value; do
	case $name in
	KAFKA_HEAP_OPTS) ;;
	KAFKA_*) echo "$(echo "${name#KAFKA_}" | tr 'A-Z_' 'a-z.')=$value" >>$config ;;
	esac
done < <(env)
run=(java ${KAFKA_HEAP_OPTS:-} -XX:+UseSerialGC -cp '/opt/kafka/libs/*')
"${run[@]}" kafka.tools.StorageTool format --ignore-formatted -t "$CLUSTER_ID" -c $config
exec "${run[@]}" kafka.Kafka $config
