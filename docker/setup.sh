#!/bin/sh
# Makes .env and the passwords in secrets/, each only if it isn't there yet.
set -eu
cd "$(dirname "$0")"
umask 027 # the group may read, for the containers; nobody else

if [ ! -e .env ]; then
	sed "s/^SECRETS_GID=.*/SECRETS_GID=$(id -g)/" .env.example >.env
	echo "made .env"
fi
mkdir -p secrets
for name in mysql_root mysql_duplex; do
	if [ ! -e "secrets/$name" ]; then
		# 256 bits as hex digits, which need no quoting anywhere.
		head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"secrets/$name"
		echo "made secrets/$name"
	fi
done
