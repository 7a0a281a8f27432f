#!/bin/sh
# Runs a program of MySQL by its own loader and libraries.
t=/opt/mysql
program=$(basename "$0")
for loader in $t/lib64/ld-linux-x86-64.so.2 $t/usr/lib64/ld-linux-x86-64.so.2 $t/lib/ld-linux-aarch64.so.1 $t/usr/lib/ld-linux-aarch64.so.1; do
	if [ -e $loader ]; then break; fi
done
libraries=$(echo $t/lib/*-linux-gnu $t/usr/lib/*-linux-gnu | tr ' ' :)
case $program in
mysqld) exec $loader --library-path $libraries $t/usr/sbin/mysqld --defaults-file=/etc/mysql/my.cnf --basedir=$t/usr --lc-messages-dir=$t/usr/share/mysql --plugin-dir=$t/usr/lib/mysql/plugin --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid "$@" ;;
*) exec $loader --library-path $libraries $t/usr/bin/$program --socket=/run/mysqld/mysqld.sock "$@" ;;
esac
