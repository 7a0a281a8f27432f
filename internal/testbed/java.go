package testbed

// javaFlags are those of every JVM of the test bed: a small heap, and the quick compiler only, since most tests end before
// the other one has paid for itself. tmp keeps the JVM's temporary files with the server's own.
func javaFlags(tmp string) []string {
	return []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.io.tmpdir=" + tmp}
}
