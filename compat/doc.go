// Package compat holds only tests: Duplex's topics beside those of Debezium's
// connector for MySQL, which reads the same server at the same time, and in the
// hands of programs that were made for Debezium's.
//
// What may differ is in the list of differences_test.go, and in
// docs/debezium.md for users.
package compat
