package testbed

// Address is host:port of 127.0.0.1 where nothing listens and no server of any test bed will until t ends: for a program
// that the test starts itself, as often as it likes, or for a server that is never there.
func (b *Bed) Address(t TB) string {
	t.Helper()
	p, err := claimPort()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(p.release)
	return p.address()
}
