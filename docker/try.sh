#!/bin/bash
# Runs the compose file end to end, on a machine that may have no Docker yet: both regions up, a row each way, a reset
# of a consumer group, a downstream consumer, a service killed. Images that can't be pulled are replaced by
# stand-ins (standins/build.sh). It needs root, and takes away what it made but for images; KEEP=1 leaves all running.
set -euo pipefail
cd "$(dirname "$0")"
log=$(mktemp)
say() { echo "$(date +%T) $*"; }
fail() {
	echo "try.sh: $*" >&2
	compose logs --tail 30 >&2 || true
	exit 1
}

# An engine, if none answers.
if ! docker version >/dev/null 2>&1; then
	command -v dockerd >/dev/null || { say "installing Docker" && apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null; }
	say "starting a Docker engine"
	setsid dockerd >/var/log/dockerd-try.log 2>&1 &
	for _ in $(seq 60); do docker version >/dev/null 2>&1 && break || sleep 1; done
	docker version >/dev/null || { tail /var/log/dockerd-try.log >&2; exit 1; }
fi
if docker compose version >/dev/null 2>&1; then
	compose() { docker compose "$@"; }
else
	command -v docker-compose >/dev/null || apt-get install -y -qq --no-install-recommends docker-compose >/dev/null
	compose() { docker-compose "$@"; }
fi

./setup.sh
export COMPOSE_PROJECT_NAME=duplex-try EAST_MYSQL_PORT=13061 WEST_MYSQL_PORT=13062 KAFKA_PORT=19094 REGISTRY_PORT=18081 EAST_STATUS_PORT=18301 WEST_STATUS_PORT=18302
missing=()
for image in "mysql:${MYSQL_TAG:-9.7}" "apache/kafka:${KAFKA_TAG:-4.3.1}" "apicurio/apicurio-registry:${REGISTRY_TAG:-3.0.9}" "$(sed -n 's/^FROM \(golang:[^ ]*\).*/\1/p' Dockerfile)"; do
	docker image inspect "$image" >/dev/null 2>&1 || timeout 300 docker pull -q "$image" 2>/dev/null || missing+=("$image")
done
if [ ${#missing[@]} -gt 0 ]; then
	say "can't be pulled: ${missing[*]}"
	standins/build.sh "${missing[@]}"
fi

compose down -v >/dev/null 2>&1 || true
if [ -z "${KEEP:-}" ]; then trap 'compose down -v >/dev/null 2>&1' EXIT; fi
say "building and starting all"
DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 compose build duplex-east >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
compose up -d

# until_is WHAT SECONDS COMMAND WANTED waits until a command prints that.
until_is() {
	local got=""
	for _ in $(seq "$2"); do
		got=$(eval "$3" 2>/dev/null || true)
		if [ "$got" = "$4" ]; then say "$1: $got"; return; fi
		sleep 1
	done
	fail "$1: '$got', not '$4', after $2 s"
}
sql() { compose exec -T "mysql-$1" bash -c 'MYSQL_PWD=$(cat /run/secrets/mysql_root) exec mysql -N -uroot shop' <<<"$2"; }
status() { compose exec -T duplex-east /duplex status --json -c /etc/duplex/east.yaml; }
healthy() { docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter health=healthy --format '{{.Names}}' | wc -l; }
streaming() { for s in east west; do compose exec -T duplex-$s /duplex status --json -c /etc/duplex/$s.yaml; done | grep -c '"state": "streaming"'; }

until_is "services that stream" 240 streaming 4
sql east "INSERT INTO customer (email, name) VALUES ('bob@example.org', 'Bob')"
sql west "INSERT INTO customer (email, name) VALUES ('eve@example.org', 'Eve')"
until_is "customers in west" 60 'sql west "SELECT GROUP_CONCAT(name ORDER BY name) FROM customer"' Ann,Bob,Eve
until_is "customers in east" 60 'sql east "SELECT GROUP_CONCAT(name ORDER BY name) FROM customer"' Ann,Bob,Eve
compose exec -T duplex-east /duplex check -c /etc/duplex/east.yaml -c /etc/duplex/west.yaml --task /etc/duplex/shop.yaml >/dev/null || fail "duplex check refuses"
say "duplex check: fine"

# A downstream consumer reads what east published: its own row, and west's.
read_topic() { compose exec -T kafka /opt/kafka/bin/kafka-console-consumer.sh --bootstrap-server localhost:9092 --topic east.shop.customer --from-beginning --timeout-ms 8000 --isolation-level read_committed | grep -ac example.org; }
until_is "changes of customers on east's topic" 5 read_topic 2

# The group is reset with Kafka's own tool, as README tells: all is read again.
compose stop duplex-west >/dev/null 2>&1
compose exec -T kafka /opt/kafka/bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --group duplex.shop.east-to-west --all-topics --reset-offsets --to-earliest --execute >/dev/null || fail "the group can't be reset"
compose start duplex-west >/dev/null 2>&1
until_is "services that stream after the reset" 120 streaming 4
sql east "INSERT INTO customer (email, name) VALUES ('joe@example.org', 'Joe')"
until_is "customers in west" 60 'sql west "SELECT GROUP_CONCAT(name ORDER BY name) FROM customer"' Ann,Bob,Eve,Joe

# One service is killed; it comes again by itself and misses nothing.
kill -9 "$(docker inspect --format '{{.State.Pid}}' "$(compose ps -q duplex-east)")"
sql west "UPDATE customer SET name = 'Ann of west' WHERE id = 1"
until_is "Ann in east after a kill" 120 'sql east "SELECT name FROM customer WHERE id = 1"' "Ann of west"
until_is "healthy containers" 120 healthy 5
say "the compose file runs"
