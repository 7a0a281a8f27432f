#!/bin/sh
# What the compose file uses of the real image: MYSQL_ROOT_PASSWORD_FILE, MYSQL_ROOT_HOST localhost,
# MYSQL_USER, MYSQL_PASSWORD_FILE, and the scripts in /docker-entrypoint-initdb.d, run once by a server without TCP.
set -eu
if [ "${1#-}" != "$1" ]; then set -- mysqld "$@"; fi
if [ "$1" = mysqld ] && [ ! -d /var/lib/mysql/mysql ]; then
	mysqld --initialize-insecure
	mysqld --skip-networking --skip-log-bin &
	server=$!
	until mysqladmin -uroot ping >/dev/null 2>&1; do sleep 0.2; done
	for script in /docker-entrypoint-initdb.d/*.sql; do
		if [ -n "${MYSQL_USER:-}" ]; then
			echo "CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$(cat "$MYSQL_PASSWORD_FILE")'" | mysql -uroot
			unset MYSQL_USER
		fi
		mysql -uroot <"$script"
	done
	echo "ALTER USER root@localhost IDENTIFIED BY '$(cat "$MYSQL_ROOT_PASSWORD_FILE")'" | mysql -uroot
	kill "$server"
	wait "$server"
fi
exec "$@"
