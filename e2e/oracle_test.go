package e2e_test

// checkHistory is called when the regions are equal, with the processes
// running. It reads both binlogs and all topics and proves that nothing was
// lost, echoed, doubled or put out of order on the way.
func checkHistory(p *pair, l *load) map[*side]audited {
	p.t.Helper()
	found := map[*side]audited{}
	for _, s := range p.sides() {
		found[s] = auditBinlog(p, s, l)
		auditTopics(p, s, found[s])
	}
	return found
}
