// Package e2e tests the program as users run it: the real binary as processes
// of its own, real MySQL servers, a real Kafka, a real registry. Nothing of
// the program runs inside the test process.
//
// A pair is two regions and the processes that keep them equal. A load writes
// to both at once and remembers in a ledger what every key must hold; each
// change carries its side and a number of its own, so that its effects can be
// followed through both servers. When the load ends, the oracles look: are the
// tables of both servers and the ledger equal; does each server's whole binlog
// show that no change came back, none was applied twice, all in order; do the
// topics hold each transaction exactly once.
//
// The tests differ in what they do meanwhile: kill processes at random moments
// and at named points, kill brokers, terminate, freeze, start a second of what
// must run once. With DUPLEX_SOAK=1 they run much longer. With
// DUPLEX_E2E_RACE=1 the program itself is built with the race detector.
package e2e
